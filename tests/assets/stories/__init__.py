"""Monitors, replayed over weeks of telemetry: which alarm goes off, when, and which does not.

`telemetry` holds what would reach Datadog, `pool` simulates a server that sends it, `catalogue` tells the stories, and
`replay` evaluates a monitor over one, with the grammars in `metric_alerts`, `log_alerts` and `status_alerts`.
"""

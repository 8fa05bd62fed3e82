import pytest

from datadog_checks.gunicorn.pool.states import States, count_states


@pytest.mark.parametrize(
    ("what", "used", "states"),
    [
        ("no worker", [], States(idle=0, working=0)),
        ("one used no CPU", [0.0], States(idle=1, working=0)),
        ("one used less than half a millisecond", [0.000499], States(idle=1, working=0)),
        ("one used half a millisecond", [0.0005], States(idle=0, working=1)),
        ("each on its own", [0.0004, 0.01, 0.0004], States(idle=2, working=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_states(what, used, states):
    assert count_states(iter(used)) == states

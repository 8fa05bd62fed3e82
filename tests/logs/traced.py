"""An application that ddtrace traces. It writes the IDs of the trace into the environment of the request."""

import logging

from ddtrace import tracer
from ddtrace.contrib.wsgi import DDWSGIMiddleware


def traced(environ, start_response):
    ids = tracer.get_log_correlation_context()
    environ.update(ids)
    logging.getLogger("gunicorn.error").info("trace %s", ids["dd.trace_id"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


app = DDWSGIMiddleware(traced)

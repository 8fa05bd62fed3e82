"""The configuration of the demo's Gunicorn.

Stdin is a pipe that the demo holds open and never writes to. The kernel closes it when the demo ends, in whatever way,
and the server then stops. Each worker writes a line to stdout when it is ready.
"""

import os
import signal
import threading
import time
from typing import Any

graceful_timeout = 2
# A request to /burn lasts as long as the demo: the master would take its worker for hung.
timeout = 0
# Older releases ignore unknown settings. The control socket would be a file in the home directory.
control_socket_disable = True
enable_backlog_metric = True


def post_worker_init(_: Any) -> None:
    """Tell the demo that a worker has loaded the app."""
    os.write(1, b"ready\n")


def _end_with_the_demo() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # A worker that is being forked can miss the signal that its master sends it.
    time.sleep(graceful_timeout + 1)
    os.killpg(0, signal.SIGKILL)


# The demo starts the master in a new session, so that its process group holds only the master and its workers.
if os.getpgrp() == os.getpid():
    threading.Thread(target=_end_with_the_demo, daemon=True).start()

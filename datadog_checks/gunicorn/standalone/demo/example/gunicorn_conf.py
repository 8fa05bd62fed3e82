"""The configuration of the demo's Gunicorn.

Stdin is a pipe that only the demo can write to. It never does; but the kernel closes it when the demo ends, however
that happens, and the server ends with it. Stdout takes a line from each worker that is ready.
"""

import os
import signal
import threading
import time
from typing import Any

graceful_timeout = 2
# A request to /burn lasts as long as the demo does: to the master, its worker would hang.
timeout = 0
# Older releases ignore the settings that they do not know. The control socket would be a file in the home folder.
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


# The demo gave the master a session, and so a process group, of its own: the group is the master and its workers.
if os.getpgrp() == os.getpid():
    threading.Thread(target=_end_with_the_demo, daemon=True).start()

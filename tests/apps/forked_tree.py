"""A configuration whose workers fork once each; the forks keep the title of a worker."""

import os
import time


def post_worker_init(worker):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)

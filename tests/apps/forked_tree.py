"""A configuration whose workers fork once each: the grandchildren are titled as workers too."""

import os
import time


def post_worker_init(worker):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)

"""A configuration whose hook forks once before the first worker; the child keeps the master's title."""

import os
import time

forked = []


def pre_fork(server, worker):
    if forked:
        return
    parent = os.getpid()
    forked.append(os.fork())
    if forked == [0]:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)

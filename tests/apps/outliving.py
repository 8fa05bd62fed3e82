"""A configuration whose hook forks once before the first worker: the child outlives the master."""

import os
import time

forked = []


def pre_fork(server, worker):
    if forked:
        return
    forked.append(os.fork())
    if forked == [0]:
        time.sleep(60)
        os._exit(0)

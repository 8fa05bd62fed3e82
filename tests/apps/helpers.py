"""A configuration whose hooks each fork one helper process, which lives as long as the master."""

import os
import time

forked = set()


def fork_once(hook):
    if hook in forked:
        return
    forked.add(hook)
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)


def on_starting(server):
    fork_once("on_starting")


def when_ready(server):
    fork_once("when_ready")


def pre_fork(server, worker):
    fork_once("pre_fork")

"""Processes that act as a master and its workers, and listen as a test requests; Linux only."""

import contextlib
import os
import signal
import socket

from datadog_checks.gunicorn.host.procfs import read_stat
from datadog_checks.gunicorn.host.values import Identity
from datadog_checks.gunicorn.servers.applications import Candidate


def identity_of(pid):
    return Identity(pid, read_stat(pid).started)


def candidate_of(master):
    return Candidate(master, "web", None, parent=1, session=1, group=1, forked=False, reparented=False)


# A master catches these, as does a worker that has just been forked.
HANDLED = (signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class StandIn:
    """A master, which is the test process, and workers, which are its forks."""

    def __init__(self, stack):
        self.stack = stack
        self.master = identity_of(os.getpid())
        self.workers = []
        self._listeners = []
        self._reports = {}

    def listen(self, *, inheritable=True):
        """Listen as the master; return the socket."""
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        return self.keep(listener) if inheritable else listener

    def keep(self, listener):
        """Treat a socket as a listener of the server."""
        listener.set_inheritable(True)
        self._listeners.append(listener)
        return listener

    def leak(self):
        """Listen as the master's parent did; return the socket."""
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.set_inheritable(True)
        return listener

    def boot(self):
        """Do what a worker does before it loads the application."""
        for listener in self._listeners:
            if listener.fileno() >= 0:
                listener.set_inheritable(False)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)

    def fork(self, *acts, booted=True):
        """Fork a worker that runs the first action and keeps its result, and one more action for each `go_on`."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
                for number in HANDLED:
                    signal.signal(number, lambda *_: None)
                if booted:
                    self.boot()
                kept = []
                for act in acts or (list,):
                    kept.append(act())
                    os.write(writing, b"!")
                    signal.sigwait([signal.SIGUSR1])
            os._exit(1)
        self.stack.callback(os.waitpid, pid, 0)
        self.stack.callback(os.kill, pid, signal.SIGKILL)
        os.close(writing)
        self.stack.callback(os.close, reading)
        assert os.read(reading, 1) == b"!"
        worker = identity_of(pid)
        self.workers.append(worker)
        self._reports[worker] = reading
        return worker

    def go_on(self, worker):
        """Let a worker run its next action."""
        os.kill(worker.pid, signal.SIGUSR1)
        assert os.read(self._reports[worker], 1) == b"!"


def listen_on(*ports, backlog=2048):
    """Listen as a worker does with --reuse-port, even if others listen on the address."""
    listeners = []
    for port in ports:
        listeners.append(socket.socket())
        listeners[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listeners[-1].bind(("127.0.0.1", port))
        listeners[-1].listen(backlog)
    return listeners


@contextlib.contextmanager
def free_ports():
    """Return two free ports that the caller can listen on."""
    held = listen_on(0, 0)
    with contextlib.ExitStack() as stack:
        ports = []
        for listener in held:
            bound = stack.enter_context(socket.socket())
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            ports.append(listener.getsockname()[1])
            bound.bind(("127.0.0.1", ports[-1]))
            listener.close()
        yield ports

import signal

import pytest
from datadog_checks.base.stubs import tagger

from .docker import MissingDockerError, run_docker


@pytest.fixture(scope="session")
def docker():
    """The command docker; without one, end the tests as failed, in one line."""
    # So that containers and the daemon are removed as after a Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with run_docker() as docker:
            yield docker
    except MissingDockerError as error:
        pytest.exit(f"make e2e {error}", returncode=1)


@pytest.fixture(autouse=True)
def _fresh_tagger():
    """Reset what the Agent's tagger knows, and what it was asked."""
    tagger.reset()
    yield
    tagger.reset()

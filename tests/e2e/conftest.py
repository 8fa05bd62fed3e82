import signal

import pytest
from datadog_checks.base.stubs import tagger

from .docker import MissingDockerError, run_docker


@pytest.fixture(scope="session")
def docker():
    """The command docker; without Docker, the tests fail with one line."""
    # After SIGTERM, remove the containers and the daemon as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with run_docker() as docker:
            yield docker
    except MissingDockerError as error:
        pytest.exit(f"make e2e {error}", returncode=1)


@pytest.fixture(autouse=True)
def _fresh_tagger():
    """Reset the tags that the Agent's tagger knows, and the record of its calls."""
    tagger.reset()
    yield
    tagger.reset()

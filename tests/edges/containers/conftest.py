"""Containers, where an engine answers; elsewhere the tests that need one are skipped, saying so."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def engine():
    """The container engine, or the test is skipped. CI's machines have none, so it is not required there."""
    import docker

    # The library leaves a socket open when it finds no engine, so the usual place is looked at first.
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        pytest.skip("no container engine here: neither DOCKER_HOST nor its socket")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no container engine answers here: {type(error).__name__}")
    yield client
    client.close()

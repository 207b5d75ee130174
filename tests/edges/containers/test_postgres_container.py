"""The store's tests on the PostgreSQL image that production is likely to run, by a run of pytest of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("image", ["postgres:15", "postgres:18"])
def test_the_store_keeps_its_promises_on(image, engine):
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    server = (
        DockerContainer(image)
        .with_exposed_ports(5432)
        .with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
        .waiting_for(LogMessageWaitStrategy("database system is ready to accept connections", times=2))
    )
    with server:
        address = f"{server.get_container_host_ip()}:{server.get_exposed_port(5432)}"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--quiet", "tests/edges/store", "tests/service"],
            cwd=ROOT,
            env={**os.environ, "ATTESTOR_TEST_POSTGRES": address},
            check=False,
            capture_output=True,
            text=True,
        )

    assert done.returncode == 0, done.stdout[-4000:]

"""What the embedded mode starts only where no address is configured: PostgreSQL and Milvus Lite."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Protocol

from t2isearch.embedded.child import Child, Program
from t2isearch.embedded.milvus import MilvusLite
from t2isearch.embedded.postgres import Postgres
from t2isearch.embedded.state import Layout

START_PATIENCE_S = 90.0


class StartFailedError(Exception):
    """Something cannot be started: a sentence, and the last lines of the log that tells why."""

    def __init__(self, sentence: str, last_lines: list[str] | None = None) -> None:
        super().__init__(sentence)
        self.last_lines = last_lines or []


class Service(Protocol):
    """A server that others connect to."""

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def variable(self) -> str:
        """The environment variable that holds its address."""
        ...

    @property
    def address(self) -> str:
        """The value of that variable."""
        ...

    def program(self) -> Program:
        """Prepare its data directory; how it is started.

        Raises:
            UnusableDataError: the directory cannot be used.
        """
        ...

    def accepts_connections(self) -> bool:
        """Whether it can be used now."""
        ...

    def complete(self) -> None:
        """What has to be done once it accepts connections."""
        ...


def unconfigured_services(layout: Layout, *, durable: bool = True) -> list[Service]:
    """The services whose address is not set in the environment.

    Those of the tests need not be `durable`, which makes PostgreSQL faster.
    """
    services: list[Service] = [
        MilvusLite(layout.milvus, port=free_port()),
        Postgres(layout.postgres, durable=durable),
    ]
    return [service for service in services if not os.environ.get(service.variable)]


def wait_for_service(
    service: Service, child: Child, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Wait until the started `child` accepts connections, then complete it.

    Raises:
        StartFailedError: it ended, or took too long.
    """
    deadline = time.monotonic() + START_PATIENCE_S
    while not service.accepts_connections():
        if child.exit_code() is not None:
            raise StartFailedError(f"{service.title} could not be started.", child.last_lines())
        if time.monotonic() > deadline:
            raise StartFailedError(
                f"{service.title} did not accept connections within {START_PATIENCE_S:.0f} s.",
                child.last_lines(),
            )
        pause(0.05)
    service.complete()


def free_port() -> int:
    """A TCP port that nobody on this machine listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

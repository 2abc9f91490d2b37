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

# A service without which the gallery works is waited for so long; the others as long as they live.
START_PATIENCE_S = 90.0
REPORT_EVERY_S = 60.0
# What the log says of damage may be about what is being mended.
DAMAGE_PATIENCE_S = 20.0


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

    def mend(self) -> list[str]:
        """Before it starts: remove what is damaged and derived; a sentence for each."""
        ...

    def give_up_data(self) -> bool:
        """Remove data that it can't start on, where that is derived; whether it was done."""
        ...

    def explain(self, lines: list[str]) -> str | None:
        """What a person should do about what the log says; None where it says nothing special."""
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
    service: Service,
    child: Child,
    *,
    pause: Callable[[float], None] = time.sleep,
    report: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Wait until the started `child` accepts connections, then complete it.

    Says every minute that it still waits.

    Raises:
        StartFailedError: it ended or, if the gallery works without it, took too long.
    """
    started = reported = time.monotonic()
    while not service.accepts_connections():
        lines, now = child.last_lines(), time.monotonic()
        explained = service.explain(lines)
        if child.exit_code() is not None:
            raise StartFailedError(explained or f"{service.title} could not be started.", lines)
        if explained and now - started > DAMAGE_PATIENCE_S:
            raise StartFailedError(explained, lines)
        if not child.program.is_essential and now - started > START_PATIENCE_S:
            raise StartFailedError(
                f"{service.title} did not accept connections within {START_PATIENCE_S:.0f} s.",
                lines,
            )
        if now - reported > REPORT_EVERY_S:
            report(f"{service.title} is still starting. Its log ends: {''.join(lines[-1:])}")
            reported = now
        pause(0.05)
    service.complete()


def free_port() -> int:
    """A TCP port that nobody on this machine listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

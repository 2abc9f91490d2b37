"""`manage.py` commands on a system that does not run: PostgreSQL alone is started for them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from t2isearch.embedded.child import (
    Child,
    find_recorded,
    python_command,
    python_environment,
    stop_recorded,
)
from t2isearch.embedded.lock import exclusive_lock
from t2isearch.embedded.service import unconfigured_services, wait_for_service
from t2isearch.embedded.state import BASE_DIR, Layout, own_secret_key
from t2isearch.embedded.terminal import Terminal


def manage_alone(layout: Layout, terminal: Terminal, commands: Sequence[Sequence[str]]) -> int:
    """Run `commands` one after the other; returns the exit code of the first that fails, or 0.

    Raises:
        AlreadyRunningError: the system runs.
        StartFailedError, UnusableDataError: PostgreSQL can't be started.
    """
    environment = python_environment(layout)
    with exclusive_lock(layout.lock, address="no address: a single command"):
        stop_recorded(layout, find_recorded(layout))
        if not os.environ.get("SECRET_KEY"):
            own_secret_key(layout)
        with _database(layout, terminal, environment):
            for command in commands:
                if code := manage(environment, *command):
                    return code
    return 0


def manage(environment: dict[str, str], *arguments: str) -> int:
    """Run one `manage.py` command on this terminal to its end, which Ctrl-C and SIGTERM hasten."""
    process: subprocess.Popen[bytes] | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A terminal's Ctrl-C has reached it already.
        if number == signal.SIGTERM and process is not None:
            process.send_signal(signal.SIGINT)

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            python_command("manage.py", *arguments), cwd=BASE_DIR, env=environment
        )
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _database(layout: Layout, terminal: Terminal, environment: dict[str, str]) -> Iterator[None]:
    """PostgreSQL, unless another one is configured, with its address in `environment`."""
    services = [each for each in unconfigured_services(layout) if each.variable == "DATABASE_URL"]
    if not services:
        yield
        return
    (service,) = services
    child = Child(service.program(), layout, environment)
    try:
        with terminal.step(f"Starting {service.title}", service.title):
            child.start()
            wait_for_service(service, child)
        environment[service.variable] = service.address
        yield
    finally:
        with terminal.step(f"Stopping {service.title}", f"{service.title} stopped"):
            child.stop()

"""Starts everything in order, keeps it running, and stops it in the reverse order."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from t2isearch.embedded import processes
from t2isearch.embedded.child import (
    Child,
    Program,
    find_recorded,
    python_command,
    python_environment,
    stop_recorded,
)
from t2isearch.embedded.lock import exclusive_lock
from t2isearch.embedded.postgres import UnusableDataError
from t2isearch.embedded.readiness import reachable_host, read_readiness
from t2isearch.embedded.service import StartFailedError, unconfigured_services, wait_for_service
from t2isearch.embedded.state import Layout, own_secret_key, publish_environment
from t2isearch.embedded.terminal import Terminal

READY_PATIENCE_S = 120.0
# A child that ran this long has started; one that never did so is given up after some tries.
SETTLED_S = 30.0
START_TRIES = 5
LONGEST_RESTART_PAUSE_S = 60.0
# One request to stop may arrive twice: from the terminal or a process manager, and through make.
SAME_REQUEST_S = 0.5


class StopRequested(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


@dataclass(slots=True)
class Supervised:
    """A child and how it has fared."""

    child: Child
    started_at: float
    settled: bool = False
    failures: int = 0
    restart_at: float | None = None


class Supervisor:
    """One start of the whole system on one `VAR_DIR`."""

    def __init__(self, *, layout: Layout, host: str, port: int, terminal: Terminal) -> None:
        self._layout = layout
        self._host = host
        self._port = port
        self._terminal = terminal
        self._environment = python_environment(layout)
        # What is stopped together, in the order of starting: services, workers, web.
        self._tiers: list[list[Supervised]] = []
        self._stop_requests = 0
        self._requested_at = 0.0

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page."""
        return f"http://{processes.socket_address(reachable_host(self._host), self._port)}/"

    def run(self) -> int:
        """Start, serve until asked to stop, stop. Returns the exit code.

        Raises:
            AlreadyRunningError: another supervisor runs on the same `VAR_DIR`.
        """
        with (
            exclusive_lock(self._layout.lock, address=self.address),
            self._stop_signals(),
        ):
            problem: StartFailedError | UnusableDataError | None = None
            try:
                self._start()
                self._watch()
            except StopRequested:
                pass
            except (StartFailedError, UnusableDataError) as error:
                problem = error
            finally:
                self._stop()
        if problem is None:
            return 0
        for line in getattr(problem, "last_lines", []):
            self._terminal.say(f"  | {line}")
        self._terminal.fail(str(problem))
        return 1

    def _start(self) -> None:
        self._stop_leftovers()
        self._check_port()
        # Where the database is configured and the key is not, all processes here share this one.
        if not os.environ.get("SECRET_KEY"):
            own_secret_key(self._layout)
        self._start_services()
        self._manage("migrate", "--noinput", doing="Migrating the database", done="Database")
        self._manage(
            "collectstatic", "--noinput", doing="Collecting static files", done="Static files"
        )
        if os.environ.get("S3_BUCKET"):
            self._manage("prepare_storage", doing="Looking for the bucket", done="Bucket")
        encoder = self._manage(
            "prepare_search",
            doing="Choosing the encoder",
            done="Search index",
            shows_progress=True,
        )
        self._start_application()
        self._announce(encoder)

    def _stop_leftovers(self) -> None:
        leftovers = find_recorded(self._layout)
        if leftovers:
            names = ", ".join(leftover.name for leftover in leftovers)
            with self._terminal.step(
                f"Stopping what an earlier start left running: {names}", "Earlier start cleared up"
            ):
                stop_recorded(self._layout, leftovers, hurry=lambda: self._stop_requests > 0)
        self._pause(0)

    def _check_port(self) -> None:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            raise StartFailedError(
                f"Port {self._port} on {self._host} cannot be used ({error.strerror or error}): "
                f"choose another one, for instance `make run PORT={self._port + 1}`."
            ) from None

    def _start_services(self) -> None:
        published = {"WEB": self.address}
        services = unconfigured_services(self._layout)
        self._tiers.append([])
        if services:
            titles = " and ".join(service.title for service in services)
            with self._terminal.step(f"Starting {titles}", titles):
                children = [self._launch(service.program()) for service in services]
                for service, child in zip(services, children, strict=True):
                    wait_for_service(service, child, pause=self._pause)
                    published[service.variable] = service.address
        publish_environment(self._layout, published)

    def _manage(
        self, command: str, *options: str, doing: str, done: str, shows_progress: bool = False
    ) -> list[str]:
        """Run a `manage.py` command to its end; returns the last lines it wrote."""
        program = Program(
            name="setup",
            command=python_command("manage.py", command, *options),
            shows_progress=shows_progress,
        )
        child = Child(program, self._layout, self._environment)
        with self._terminal.step(doing, done, spinner=not shows_progress) as show:
            child.start()
            try:
                while (code := child.exit_code()) is None:
                    show("".join(child.last_lines(1)))
                    self._pause(0.1)
            finally:
                child.stop()
            if code != 0:
                raise StartFailedError(
                    f"`manage.py {command}` failed; all it wrote is in {child.log}.",
                    _reason(child.last_lines()),
                )
        return child.last_lines()

    def _start_application(self) -> None:
        tiers = [
            [processes.worker(), processes.indexer(), processes.beat()],
            [processes.web(host=self._host, port=self._port)],
        ]
        with self._terminal.step("Starting the web server and the workers", "All ready") as show:
            for programs in tiers:
                self._tiers.append([])
                for program in programs:
                    self._launch(program)
            deadline = time.monotonic() + READY_PATIENCE_S
            while True:
                for supervised in self._supervised():
                    if supervised.child.exit_code() is not None:
                        raise StartFailedError(
                            f"The process {supervised.child.name!r} could not be started.",
                            supervised.child.last_lines(),
                        )
                readiness = read_readiness(host=reachable_host(self._host), port=self._port)
                if readiness.ready:
                    return
                show(readiness.problem)
                if time.monotonic() > deadline:
                    raise StartFailedError(
                        f"Not ready after {READY_PATIENCE_S:.0f} s: {readiness.problem}. "
                        f"The logs are in {self._layout.logs}."
                    )
                self._pause(0.2)

    def _announce(self, prepared: list[str]) -> None:
        # The last lines of `manage.py prepare_search`: "encoder: …" and "reason: …".
        found = dict(line.split(": ", 1) for line in prepared[-2:] if ": " in line)
        self._terminal.say()
        self._terminal.say(f"t2isearch runs at {self.address}", style="bold")
        self._terminal.facts(
            {
                "Encoder": ": ".join(found.values()),
                "Data": str(self._layout.root),
                "Logs": str(self._layout.logs),
            }
        )
        self._terminal.say("Ctrl-C stops it.")

    def _watch(self) -> None:
        while True:
            self._pause(0.2)
            for supervised in self._supervised():
                self._look_after(supervised)

    def _look_after(self, supervised: Supervised) -> None:
        child, now = supervised.child, time.monotonic()
        if supervised.restart_at is not None:
            if now >= supervised.restart_at:
                child.start()
                supervised.started_at, supervised.restart_at = now, None
                self._terminal.say(f"{child.name} was started again.")
            return
        code = child.exit_code()
        if code is None:
            if now - supervised.started_at > SETTLED_S:
                supervised.settled, supervised.failures = True, 0
            return
        supervised.failures += 1
        if not supervised.settled and supervised.failures >= START_TRIES:
            raise StartFailedError(
                f"The process {child.name!r} ended {START_TRIES} times in a row.",
                child.last_lines(),
            )
        child.clean_up_after_exit()
        pause_s = min(2.0 ** (supervised.failures - 1), LONGEST_RESTART_PAUSE_S)
        supervised.restart_at = now + pause_s
        self._terminal.warn(
            f"{child.name} {_exit_in_words(code)}; it is started again in {pause_s:.0f} s. "
            f"Its log: {child.log}"
        )

    def _stop(self) -> None:
        requests_before = self._stop_requests

        def hurry() -> bool:
            return self._stop_requests > requests_before

        for tier in reversed(self._tiers):
            for supervised in reversed(tier):
                supervised.child.request_stop()
            for supervised in reversed(tier):
                name = supervised.child.name
                with self._terminal.step(f"Stopping {name}", f"{name} stopped"):
                    supervised.child.stop(hurry=hurry)
        self._layout.services.unlink(missing_ok=True)

    def _launch(self, program: Program) -> Child:
        child = Child(program, self._layout, self._environment)
        child.start()
        self._tiers[-1].append(Supervised(child, started_at=time.monotonic()))
        return child

    def _supervised(self) -> Iterator[Supervised]:
        for tier in self._tiers:
            yield from tier

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._stop_requests:
            raise StopRequested

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """Count the requests to stop, to be looked at between two steps: nothing is cut in half."""

        def count(number: int, frame: FrameType | None) -> None:
            now = time.monotonic()
            if self._stop_requests == 0 or now - self._requested_at > SAME_REQUEST_S:
                self._stop_requests += 1
                self._requested_at = now

        numbers = [signal.SIGINT, signal.SIGTERM]
        # The terminal's window was closed; under nohup, that is no reason to stop.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, count) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _reason(lines: list[str]) -> list[str]:
    """From the last exception's name on: the traceback before it stays in the log."""
    for position in range(len(lines) - 1, -1, -1):
        if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Configured|Interrupt): ", lines[position]):
            return lines[position:]
    return lines


def _exit_in_words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"

"""Starts everything in order, keeps it running, and stops it in the reverse order."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
from t2isearch.embedded.lock import AlreadyRunningError, exclusive_lock
from t2isearch.embedded.postgres import Postgres, UnusableDataError, damage_in
from t2isearch.embedded.readiness import (
    Readiness,
    reachable_host,
    read_readiness,
    web_answers,
)
from t2isearch.embedded.service import (
    REPORT_EVERY_S,
    Service,
    StartFailedError,
    unconfigured_services,
    wait_for_service,
)
from t2isearch.embedded.state import (
    DamagedKeyError,
    Layout,
    own_secret_key,
    publish_environment,
    published_environment,
)
from t2isearch.embedded.terminal import Terminal
from t2isearch.files import discard, make_directory

# The whole system is waited for so long before the gallery is announced without the search.
READY_PATIENCE_S = 120.0
# A child that ran this long has started; an essential one that never did so is given up after some
# tries, the others never.
SETTLED_S = 30.0
START_TRIES = 5
LONGEST_RESTART_PAUSE_S = 60.0
# How often the files that this process keeps are looked at.
TEND_EVERY_S = 2.0
# One request to stop may arrive twice: from the terminal or a process manager, and through make.
SAME_REQUEST_S = 0.5


class _NotReadyError(Exception):
    """The gallery works, and the search does not yet."""


class StopRequested(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


@dataclass(slots=True)
class Supervised:
    """A child and how it has fared."""

    child: Child
    started_at: float
    service: Service | None = None
    settled: bool = False
    failures: int = 0
    ended_with: int = 0
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
        self._published: dict[str, str] = {"WEB": self.address}
        self._renew_lock: Callable[[], None] = lambda: None
        self._tended_at = 0.0

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
            exclusive_lock(self._layout.lock, address=self.address) as self._renew_lock,
            self._stop_signals(),
        ):
            problem: StartFailedError | UnusableDataError | DamagedKeyError | None = None
            try:
                self._start()
                self._watch()
            except StopRequested:
                pass
            except (StartFailedError, UnusableDataError, DamagedKeyError) as error:
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
        # Messages only wake workers: nothing in an old one is worth keeping.
        discard(self._layout.broker)
        make_directory(self._layout.broker)
        self._start_services()
        self._manage("migrate", "--noinput", doing="Migrating the database", done="Database")
        # One that was damaged looks newer than what it was copied from.
        discard(self._layout.static)
        make_directory(self._layout.static)
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
        readiness = self._start_application()
        self._announce(encoder, readiness)
        if not readiness.ready:
            self._wait_for_readiness(for_s=math.inf)
            self._terminal.say("The search is ready.")

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
        services = unconfigured_services(self._layout)
        self._refuse_photos_without_database(services)
        self._tiers.append([])
        for service in services:
            self._published[service.variable] = service.address
            for sentence in service.mend():
                self._terminal.warn(sentence)
        if services:
            titles = " and ".join(service.title for service in services)
            up: list[str] = []
            with self._terminal.step(f"Starting {titles}", lambda: " and ".join(up)):
                started = [self._launch(service.program(), service) for service in services]
                for service, supervised in zip(services, started, strict=True):
                    if self._is_up(supervised, service):
                        up.append(service.title)
        publish_environment(self._layout, self._published)

    def _is_up(self, supervised: Supervised, service: Service) -> bool:
        """Wait until a service can be used; for one that the gallery can do without, not for ever.

        Raises:
            StartFailedError: the gallery can't do without it.
        """
        child = supervised.child
        for last in (False, True):
            try:
                wait_for_service(service, child, pause=self._pause, report=self._terminal.warn)
            except StartFailedError as error:
                if child.program.is_essential:
                    raise
                self._terminal.warn(f"{error} Its log: {child.log}")
            else:
                return True
            # Ended by itself, and not by somebody or for lack of memory.
            if last or (child.exit_code() or 0) <= 0 or not service.give_up_data():
                break
            self._terminal.warn(f"The data of {service.title} is removed: it is made anew.")
            child.clean_up_after_exit()
            child.start()
        self._terminal.warn(f"The gallery goes on without {service.title}; it is tried again.")
        return False

    def _refuse_photos_without_database(self, services: list[Service]) -> None:
        empty = [each for each in services if isinstance(each, Postgres) and each.is_empty()]
        if empty and any(path.is_file() for path in self._layout.media.rglob("*")):
            raise UnusableDataError(
                f"There are photos in {self._layout.media}, and no database in {empty[0].data} "
                "that says whose they are. Put a backup back with `python -m t2isearch.embedded "
                f"restore FOLDER`. To begin anew, move {self._layout.media} away."
            )

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
        still = _Reminder(self._terminal.warn)
        with self._terminal.step(doing, done, spinner=not shows_progress) as show:
            child.start()
            try:
                while (code := child.exit_code()) is None:
                    line = "".join(child.last_lines(1))
                    show(line)
                    still.say(f"{doing} goes on. {line}")
                    self._look_after_all()
                    self._pause(0.1)
            finally:
                child.stop()
            if code != 0:
                lines = child.last_lines()
                raise StartFailedError(
                    self._explained(lines)
                    or f"`manage.py {command}` failed; all it wrote is in {child.log}.",
                    _reason(lines),
                )
        return child.last_lines()

    def _explained(self, lines: list[str]) -> str | None:
        """What a database that is damaged has to do with it, if anything."""
        errors = [line for line in lines if line.startswith(("django.db.", "psycopg."))]
        explanations = [damage_in(errors, self._layout.postgres)] + [
            supervised.service.explain(supervised.child.last_lines())
            for supervised in self._supervised()
            if supervised.service is not None and errors
        ]
        return next((each for each in explanations if each), None)

    def _start_application(self) -> Readiness:
        tiers = [
            [processes.worker(), processes.indexer(), processes.beat()],
            [processes.web(host=self._host, port=self._port)],
        ]
        for programs in tiers:
            self._tiers.append([])
            for program in programs:
                self._launch(program)
        with (
            suppress(_NotReadyError),
            self._terminal.step("Starting the web server and the workers", "All ready") as show,
        ):
            self._wait_for_web(show)
            # The gallery is of use to whoever waits.
            still = _Reminder(self._terminal.warn, time.monotonic() - REPORT_EVERY_S + 10)
            readiness = self._wait_for_readiness(for_s=READY_PATIENCE_S, still=still, show=show)
            if not readiness.ready:
                raise _NotReadyError
        return readiness

    def _wait_for_web(self, show: Callable[[str], None]) -> None:
        """Wait for the gallery: as long as the web server lives.

        Raises:
            StartFailedError: it ended.
        """
        still = _Reminder(self._terminal.warn)
        web = self._tiers[-1][-1].child
        while not web_answers(host=reachable_host(self._host), port=self._port):
            if web.exit_code() is not None:
                raise StartFailedError("The web server could not be started.", web.last_lines())
            show("the web server does not answer yet")
            still.say(f"The web server is still starting. {''.join(web.last_lines(1))}")
            self._look_after_all(but=web)
            self._pause(0.2)

    def _wait_for_readiness(
        self,
        *,
        for_s: float,
        still: _Reminder | None = None,
        show: Callable[[str], None] = lambda detail: None,
    ) -> Readiness:
        """Wait for the search as well, for so long at most; how it is then."""
        deadline = time.monotonic() + for_s
        executor = ThreadPoolExecutor(1)
        readiness = Readiness(ready=False, problem="it is being loaded")
        try:
            asked = self._ask_readiness(executor)
            while time.monotonic() < deadline:
                if asked.done():
                    readiness = asked.result()
                    if readiness.ready:
                        break
                    asked = self._ask_readiness(executor)
                show(readiness.problem)
                if still is not None:
                    still.say(f"The gallery can be used at {self.address}. {_not_ready(readiness)}")
                self._look_after_all()
                self._pause(0.2)
        finally:
            # Its answer is not waited for: it ends with the web server.
            executor.shutdown(wait=False, cancel_futures=True)
        return readiness

    def _ask_readiness(self, executor: ThreadPoolExecutor) -> Future[Readiness]:
        # The first answer takes as long as loading the encoder.
        return executor.submit(read_readiness, host=reachable_host(self._host), port=self._port)

    def _announce(self, prepared: list[str], readiness: Readiness) -> None:
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
        if not readiness.ready:
            self._terminal.warn(_not_ready(readiness))
        self._terminal.say("Ctrl-C stops it.")

    def _watch(self) -> None:
        while True:
            self._pause(0.2)
            self._look_after_all()

    def _look_after_all(self, *, but: Child | None = None) -> None:
        for supervised in self._supervised():
            if supervised.child is not but:
                self._look_after(supervised)
        if time.monotonic() - self._tended_at > TEND_EVERY_S:
            self._tended_at = time.monotonic()
            self._tend()

    def _tend(self) -> None:
        """Keep the logs small, and what others find this system by in order."""
        for supervised in self._supervised():
            supervised.child.rotate_log()
        try:
            make_directory(self._layout.run)
            self._renew_lock()
            if published_environment(self._layout) != self._published:
                publish_environment(self._layout, self._published)
        except (OSError, AlreadyRunningError) as error:
            self._terminal.warn(f"{self._layout.run} can't be kept in order: {error}")

    def _look_after(self, supervised: Supervised) -> None:
        child, now = supervised.child, time.monotonic()
        if supervised.restart_at is not None:
            if now >= supervised.restart_at:
                self._start_again(supervised)
            return
        code = child.exit_code()
        if code is None:
            if now - supervised.started_at > SETTLED_S:
                supervised.settled, supervised.failures = True, 0
            return
        supervised.failures += 1
        supervised.ended_with = code
        if child.program.is_essential and supervised.failures >= START_TRIES:
            lines = child.last_lines()
            explained = supervised.service.explain(lines) if supervised.service else None
            if explained or not supervised.settled:
                sentence = f"The process {child.name!r} ended {START_TRIES} times in a row."
                raise StartFailedError(explained or sentence, lines)
        child.clean_up_after_exit()
        pause_s = min(2.0 ** (supervised.failures - 1), LONGEST_RESTART_PAUSE_S)
        supervised.restart_at = now + pause_s
        self._terminal.warn(
            f"{child.name} {_exit_in_words(code)}; it is started again in {pause_s:.0f} s. "
            f"Its log: {child.log}"
        )

    def _start_again(self, supervised: Supervised) -> None:
        child, service = supervised.child, supervised.service
        if service is not None:
            for sentence in service.mend():
                self._terminal.warn(sentence)
            by_itself = supervised.ended_with > 0
            if supervised.failures == START_TRIES and by_itself and service.give_up_data():
                self._terminal.warn(f"The data of {service.title} is removed: it is made anew.")
        try:
            child.start()
        except OSError as error:
            supervised.restart_at = time.monotonic() + LONGEST_RESTART_PAUSE_S
            self._terminal.warn(f"{child.name} can't be started ({error}); it is tried again.")
            return
        supervised.started_at, supervised.restart_at = time.monotonic(), None
        self._terminal.say(f"{child.name} was started again.")

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
        discard(self._layout.services)

    def _launch(self, program: Program, service: Service | None = None) -> Supervised:
        child = Child(program, self._layout, self._environment)
        child.start()
        supervised = Supervised(child, started_at=time.monotonic(), service=service)
        self._tiers[-1].append(supervised)
        return supervised

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


@dataclass(slots=True)
class _Reminder:
    """Says every minute what is still waited for."""

    report: Callable[[str], None]
    said_at: float = field(default_factory=time.monotonic)

    def say(self, sentence: str) -> None:
        if time.monotonic() - self.said_at > REPORT_EVERY_S:
            self.said_at = time.monotonic()
            self.report(sentence)


def _not_ready(readiness: Readiness) -> str:
    return f"The search is not ready yet ({readiness.problem})."


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

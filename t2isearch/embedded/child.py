"""One child process: started in a session of its own, recorded, and stopped with all it started.

The record (process id and start time) outlives a supervisor that was killed, so that the next one
finds what is still running and stops it first.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import psutil

from t2isearch.embedded.state import BASE_DIR, Layout
from t2isearch.files import discard, write_whole

LOG_ROTATION_BYTES = 5 * 1024 * 1024
# Tells a child's process, and those that it starts, whose they are.
NAME_VARIABLE = "T2ISEARCH_CHILD"
HURRIED_PATIENCE_S = 1.0
# A start time is worked out from the machine's clock, which may have been corrected meanwhile.
START_TIME_TOLERANCE_S = 5.0

StopSignals: TypeAlias = tuple[tuple[signal.Signals, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How a child process is started and stopped.

    `stop_with` lists the signals that ask it to stop, politest first, each with the seconds it gets
    before the next one. What is left of its process group then is killed. Its output goes to its
    log; with `shows_progress`, its standard error goes to the terminal. A service is stopped after
    the programs that use it. Without an essential one there is no gallery.
    """

    name: str
    command: tuple[str, ...]
    stop_with: StopSignals = ((signal.SIGTERM, 10.0),)
    shows_progress: bool = False
    is_service: bool = False
    is_essential: bool = False
    user: pwd.struct_passwd | None = None
    directory: Path = BASE_DIR


class Child:
    """A `Program` that is run, again if need be."""

    def __init__(self, program: Program, layout: Layout, environment: Mapping[str, str]) -> None:
        self.program = program
        self.log = layout.log(program.name)
        self._record = layout.process(program.name)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_requested_at: float | None = None
        self._log_start = 0

    @property
    def name(self) -> str:
        return self.program.name

    def start(self) -> None:
        """Start the program, its output appended to its log."""
        user = self.program.user
        if self.log.is_dir():
            discard(self.log)
        self.rotate_log()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=None if self.program.shows_progress else subprocess.STDOUT,
                cwd=self.program.directory,
                env=self._environment | {NAME_VARIABLE: self.name},
                start_new_session=True,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self._stop_requested_at = None
        record = {
            "pid": self._process.pid,
            "create_time": psutil.Process(self._process.pid).create_time(),
            "stop_with": self.program.stop_with,
            "is_service": self.program.is_service,
        }
        # Without room for it, it is found by its environment all the same; nobody starts it twice.
        with suppress(OSError):
            write_whole(self._record, json.dumps(record))

    def exit_code(self) -> int | None:
        """The exit code (a signal's negative number); None while it runs.

        Raises:
            RuntimeError: it was never started.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.poll()

    def clean_up_after_exit(self) -> None:
        """End what the exited process left of its group, and forget it."""
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait()
            self._process = None
        discard(self._record)

    def request_stop(self) -> None:
        """Send the first signal, and do not wait."""
        if self._process is None or self._stop_requested_at is not None:
            return
        self._stop_requested_at = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(self.program.stop_with[0][0])

    def stop(self, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop it and wait until it and its process group are gone.

        `hurry` is asked over and over: once it says yes, nothing gets more than a second.
        """
        if self._process is None:
            return
        process = self._process
        self.request_stop()
        _stop_by_signals(
            self.program.stop_with,
            first_sent_at=self._stop_requested_at,
            send=process.send_signal,
            has_exited=lambda: process.poll() is not None,
            hurry=hurry,
        )
        self.clean_up_after_exit()

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what it wrote since it was last started."""
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - 64 * 1024))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return []

    def rotate_log(self) -> None:
        """Move what a long log holds to a second file, from which older lines give way.

        The program goes on writing to the same open file, at its end, wherever that is now; so it
        needs nobody who reads from it and outlives this process. What it writes in the moment
        between the last look and the cut is lost.
        """
        try:
            with self.log.open("rb+") as log:
                size = log.seek(0, os.SEEK_END)
                if size <= LOG_ROTATION_BYTES:
                    return
                older = self.log.with_name(f"{self.log.name}.1")
                discard(older)
                # All of it, unless something went wild since the last look.
                log.seek(max(0, size - 4 * LOG_ROTATION_BYTES))
                with older.open("wb") as copy:
                    shutil.copyfileobj(log, copy)
                    log.truncate(0)
        except OSError:
            # A full disk; without the copy, the log still has to stay small.
            with suppress(OSError):
                if self.log.stat().st_size > 4 * LOG_ROTATION_BYTES:
                    os.truncate(self.log, 0)
        self._log_start = 0


def python_environment(layout: Layout) -> dict[str, str]:
    """The environment of every child: this process's, its `VAR_DIR`, and logs without delay."""
    return os.environ | {"VAR_DIR": str(layout.root), "PYTHONUNBUFFERED": "1"}


def python_command(*arguments: str) -> tuple[str, ...]:
    """A command line for the Python that runs this."""
    return (sys.executable, *arguments)


@dataclass(frozen=True, slots=True)
class RecordedProcess:
    """A child of a supervisor, which may have been killed."""

    name: str
    process: psutil.Process
    stop_with: StopSignals
    is_service: bool


def find_recorded(layout: Layout) -> list[RecordedProcess]:
    """The recorded processes that still run, the latest started first.

    Those whose record is damaged or gone are found by their environment.
    """
    found: list[RecordedProcess] = []
    for path in layout.run.glob("*.pid"):
        with suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
            record = json.loads(path.read_text())
            process = psutil.Process(record["pid"])
            if abs(process.create_time() - record["create_time"]) < START_TIME_TOLERANCE_S:
                stop_with = tuple(
                    (signal.Signals(number), patience) for number, patience in record["stop_with"]
                )
                found.append(RecordedProcess(path.stem, process, stop_with, record["is_service"]))
    known = {recorded.process.pid for recorded in found}
    found += [each for each in _find_unrecorded(layout) if each.process.pid not in known]
    return sorted(found, key=lambda recorded: recorded.process.create_time(), reverse=True)


def _find_unrecorded(layout: Layout) -> Iterator[RecordedProcess]:
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            environment = process.environ()
            name = environment.get(NAME_VARIABLE)
            # What a child started has its environment as well, and belongs to its session.
            if (
                name
                and environment.get("VAR_DIR") == str(layout.root)
                and os.getsid(process.pid) == process.pid
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                stop_with = ((signal.SIGTERM, 10.0), (signal.SIGINT, 15.0))
                is_service = name in {"postgres", "milvus"}
                yield RecordedProcess(name, process, stop_with, is_service)


def stop_recorded(
    layout: Layout, processes: list[RecordedProcess], *, hurry: Callable[[], bool] = lambda: False
) -> None:
    """Stop them, services after the others, and forget all records."""
    for are_services in (False, True):
        group = [recorded for recorded in processes if recorded.is_service is are_services]
        for recorded in group:
            with suppress(psutil.NoSuchProcess):
                recorded.process.send_signal(recorded.stop_with[0][0])
        sent_at = time.monotonic()
        for recorded in group:
            stop_process(recorded.process, recorded.stop_with, first_sent_at=sent_at, hurry=hurry)
    for path in layout.run.glob("*.pid"):
        discard(path)


def stop_process(
    process: psutil.Process,
    stop_with: StopSignals,
    *,
    first_sent_at: float | None = None,
    hurry: Callable[[], bool] = lambda: False,
) -> None:
    """Stop a process that is not a child of this one, with its process group.

    `first_sent_at` (monotonic seconds) says that the first signal was sent already.
    """

    def has_exited() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def send(signal_: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal_)

    _stop_by_signals(
        stop_with, first_sent_at=first_sent_at, send=send, has_exited=has_exited, hurry=hurry
    )
    _kill_group(process.pid)


def _stop_by_signals(
    stop_with: StopSignals,
    *,
    first_sent_at: float | None,
    send: Callable[[signal.Signals], None],
    has_exited: Callable[[], bool],
    hurry: Callable[[], bool],
) -> None:
    for position, (signal_, patience_s) in enumerate(stop_with):
        if position == 0 and first_sent_at is not None:
            sent_at = first_sent_at
        else:
            send(signal_)
            sent_at = time.monotonic()
        while not has_exited():
            waited_s = time.monotonic() - sent_at
            if waited_s > (min(patience_s, HURRIED_PATIENCE_S) if hurry() else patience_s):
                break
            time.sleep(0.05)
        else:
            return


def _kill_group(group: int) -> None:
    """Kill what is left of a process group, and wait until it is gone."""
    # The group's number is its leader's, and stays taken while any member lives.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        while any(_belongs_to(group, process) for process in psutil.process_iter()):
            time.sleep(0.01)


def _belongs_to(group: int, process: psutil.Process) -> bool:
    # An orphan that has ended stays listed until init takes notice.
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False

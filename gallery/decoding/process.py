"""One decoder as its parent holds it: started, asked, ended."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gallery.decoding import protocol

PROJECT = Path(__file__).resolve().parents[2]
# All of it: no secrets for a picture to find. glibc keeps 32 MB instead of asking the kernel for
# the pixels of each picture anew, which took 15 of 120 ms for one of 12 megapixels.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
}
START_TIMEOUT_S = 60.0
# What a decoder gathers over time, in its own memory or in that of its libraries, ends with it.
MOST_PICTURES = 1000
MOST_RESIDENT_BYTES = 400 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decoder may take: `memory_bytes` for its life, `timeout_s` of CPU time a picture.

    `patience_s` is how long a picture is waited for by the clock.
    """

    timeout_s: float
    memory_bytes: int
    patience_s: float


class OutOfTime(Exception):
    """A picture has used all the CPU time that it may."""


class DecoderEnded(Exception):
    """The decoder is gone without an answer. `from_outside`: it was ended, rather than crashed."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        # The kernel ends with SIGKILL what is to give memory back.
        self.from_outside = -exit_code in {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}


class DecoderNotStarted(Exception):
    """A decoder did not get ready: its memory is too little, or the installation is broken."""


class DecoderProcess:
    """A running decoder. Used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        """Raises DecoderNotStarted."""
        self.limits = limits
        self._pictures = 0
        self._resident_bytes = 0
        self._connection, its_end = socket.socketpair()
        with its_end:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                (
                    sys.executable, "-B", "-m", "gallery.decoding.child",
                    str(its_end.fileno()), str(limits.memory_bytes),
                ),
                cwd=PROJECT,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its_end.fileno()],
            )  # fmt: skip
        try:
            self._receive(time.monotonic() + START_TIMEOUT_S)
        except (DecoderEnded, TimeoutError, protocol.Garbled) as error:
            self.end()
            raise DecoderNotStarted(repr(error)) from error
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_usable(self) -> bool:
        """Whether it runs and has not been used up."""
        return (
            self._process.poll() is None
            and self._pictures < MOST_PICTURES
            and self._resident_bytes < MOST_RESIDENT_BYTES
        )

    def ask(self, request: protocol.Header, descriptor: int) -> tuple[protocol.Header, list[bytes]]:
        """Its answer about the open file `descriptor`.

        After an exception the decoder is of no use any more.

        Raises:
            OutOfTime: the picture takes too much.
            TimeoutError: it got too little time to say, as when it is frozen.
            DecoderEnded
            protocol.Garbled: it answered what is no message.
        """
        self._pictures += 1
        deadline = time.monotonic() + self.limits.patience_s
        self._connection.settimeout(self.limits.patience_s)
        times = {"timeout_s": self.limits.timeout_s, "patience_s": self.limits.patience_s}
        try:
            protocol.send(self._connection, request | times)
            protocol.send_file(self._connection, descriptor)
        except protocol.Gone:
            self._process.kill()  # where it only closed the socket
            raise DecoderEnded(self._process.wait()) from None
        header, parts = self._receive(deadline)
        resident = header.pop("resident_bytes", 0)
        self._resident_bytes = resident if isinstance(resident, int) else MOST_RESIDENT_BYTES
        return header, parts

    def _receive(self, deadline: float) -> tuple[protocol.Header, list[bytes]]:
        try:
            return protocol.receive(self._connection, deadline=deadline)
        except protocol.Gone:
            pass
        try:
            # It may have closed the socket alone.
            exit_code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if exit_code == -signal.SIGPROF:  # its timer of CPU time
            raise OutOfTime
        if exit_code == -signal.SIGALRM:  # that of the clock, which is behind ours
            raise TimeoutError
        raise DecoderEnded(exit_code)

    def end(self) -> None:
        """End it whatever it does, and leave no zombie."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def abandon(self) -> None:
        """Let go of another process's decoder, after a fork."""
        self._connection.close()
        self._process.returncode = 0  # not ours to wait for

"""Ctrl-C for commands that work piece by piece: the piece at hand is finished first.

An exception in the middle of whatever runs at that moment, such as a driver's conversation with
the database, would leave half of it done.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a shell reports for a command that was stopped with Ctrl-C.
INTERRUPTED = 130


class Interrupts:
    """Whether to stop. The second Ctrl-C is an exception at once, as it usually is."""

    def __init__(self) -> None:
        self.came = False

    def __bool__(self) -> bool:
        return self.came

    def note(self, signal_number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """A block in which Ctrl-C is only noted, for who looks between two pieces of work."""
    noted = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield noted  # no signal comes here
        return
    before = signal.signal(signal.SIGINT, noted.note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)

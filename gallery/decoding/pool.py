"""The decoders of this process: started when they are needed, kept, shared by its threads."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.decoding.process import DecoderProcess, Limits

# Decoding keeps a core busy; more at once would only take memory.
MOST_DECODERS = max(2, min(4, os.cpu_count() or 2))


class DecodersBusy(Exception):
    """All decoders were busy for as long as one may wait."""


class DecoderPool:
    """At most `size` decoders. The threads beyond that wait for their turn."""

    def __init__(self, size: int) -> None:
        self._turns = threading.BoundedSemaphore(size)
        self._idle: deque[DecoderProcess] = deque()

    @contextmanager
    def decoder(self, limits: Limits, *, patience_s: float) -> Iterator[DecoderProcess]:
        """A decoder for one picture. It is ended when something is raised, kept otherwise.

        Raises:
            DecodersBusy, DecoderNotStarted
        """
        if not self._turns.acquire(timeout=patience_s):
            raise DecodersBusy
        try:
            decoder = self._take(limits)
            try:
                yield decoder
            except BaseException:
                decoder.end()
                raise
            if decoder.is_usable():
                self._idle.append(decoder)
            else:
                decoder.end()
        finally:
            self._turns.release()

    def _take(self, limits: Limits) -> DecoderProcess:
        while True:
            try:
                decoder = self._idle.pop()  # the one used last: the others may be swapped out
            except IndexError:
                return DecoderProcess(limits)
            if decoder.limits == limits and decoder.is_usable():
                return decoder
            decoder.end()

    def end(self) -> None:
        """End the idle decoders; those in use end with their picture."""
        while self._idle:
            self._idle.pop().end()

    def abandon(self) -> None:
        for decoder in self._idle:
            decoder.abandon()


_pool = DecoderPool(MOST_DECODERS)


def pool() -> DecoderPool:
    return _pool


def _after_fork() -> None:
    # Decoders answer the process that started them, and a lock may have been held by a thread
    # that is not here.
    global _pool
    _pool.abandon()
    _pool = DecoderPool(MOST_DECODERS)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.end())

"""The decoders of this process: started when they are needed, kept, shared by its threads."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gallery.decoding.process import DecoderProcess, Limits

# Decoding keeps a core busy; more at once would only take memory.
MOST_DECODERS = max(2, min(4, os.cpu_count() or 2))


_person: ContextVar[Hashable] = ContextVar("person", default=None)


@contextmanager
def on_behalf_of(person: Hashable) -> Iterator[None]:
    """Say who the pictures are from that this thread has decoded. None is nobody in particular."""
    token = _person.set(person)
    try:
        yield
    finally:
        _person.reset(token)


class DecodersBusy(Exception):
    """All decoders were busy for as long as one may wait."""


class DecoderPool:
    """At most `size` decoders. The threads beyond that wait for their turn.

    One is left to the others whatever a single person sends.
    """

    def __init__(self, size: int) -> None:
        self._turns = threading.BoundedSemaphore(size)
        self._most_each = max(1, size - 1)
        self._used = threading.Condition()
        self._uses: dict[Hashable, int] = {}
        self._idle: deque[DecoderProcess] = deque()

    @contextmanager
    def decoder(self, limits: Limits, *, patience_s: float) -> Iterator[DecoderProcess]:
        """A decoder for one picture. It is ended when something is raised, kept otherwise.

        Raises:
            DecodersBusy, DecoderNotStarted
        """
        deadline = time.monotonic() + patience_s
        with self._turn_of(_person.get(), deadline):
            yield from self._lent(limits, deadline)

    @contextmanager
    def _turn_of(self, person: Hashable, deadline: float) -> Iterator[None]:
        """Raises DecodersBusy."""
        if person is None:
            yield
            return
        with self._used:
            free = self._used.wait_for(
                lambda: self._uses.get(person, 0) < self._most_each, deadline - time.monotonic()
            )
            if not free:
                raise DecodersBusy
            self._uses[person] = self._uses.get(person, 0) + 1
        try:
            yield
        finally:
            with self._used:
                self._uses[person] -= 1
                if not self._uses[person]:
                    del self._uses[person]
                self._used.notify_all()

    def _lent(self, limits: Limits, deadline: float) -> Iterator[DecoderProcess]:
        if not self._turns.acquire(timeout=max(0.0, deadline - time.monotonic())):
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

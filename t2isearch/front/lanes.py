"""Threads for the work of the loop, and whose turn it is."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


class LaneFull(Exception):
    """As many wait for a thread already as may."""


class Lane:
    """Threads that are there for one kind of work, so that no other kind waits for it.

    They are kept, and with them what Django keeps for a thread, such as a database connection. They
    are daemons: one that hangs keeps no process from ending.
    """

    def __init__(self, name: str, threads: int, *, most_waiting: int | None = None) -> None:
        self._name = name
        self._threads = threads
        self._most_waiting = most_waiting
        self._started = 0
        self._busy = 0
        self._work: queue.SimpleQueue[
            tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]
        ] = queue.SimpleQueue()

    def submit(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """Have `function` run, and return what will hold its result.

        Raises:
            LaneFull
        """
        if self._most_waiting is not None and self._busy >= self._threads + self._most_waiting:
            raise LaneFull
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._busy += 1
        self._work.put((function, future, loop))
        if self._started < min(self._threads, self._busy):
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            function, future, loop = self._work.get()
            result: Any = None
            error: BaseException | None = None
            if not future.cancelled():
                try:
                    result = function()
                except BaseException as raised:
                    error = raised
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._settle, future, result, error)
            # Nothing of a request stays until the next one comes.
            del function, future, result, error

    def _settle(
        self, future: asyncio.Future[Any], result: object, error: BaseException | None
    ) -> None:
        self._busy -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Turns:
    """At most `most` of something at once, and `most_each` of the same person; the others wait.

    Each person has a line of their own, and only its first ones stand in the common one.
    """

    def __init__(self, most: int, *, most_each: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._most_each = most_each
        self._each: dict[Hashable, asyncio.Semaphore] = {}
        self._waiting: dict[Hashable, int] = {}

    @asynccontextmanager
    async def of(self, person: Hashable) -> AsyncIterator[None]:
        line = self._each.setdefault(person, asyncio.Semaphore(self._most_each))
        self._waiting[person] = self._waiting.get(person, 0) + 1
        try:
            async with line, self._all:
                yield
        finally:
            self._waiting[person] -= 1
            if not self._waiting[person]:
                del self._waiting[person], self._each[person]

"""The body of a request, received before a thread is taken for it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

# Without a single byte.
IDLE_S = 30.0
# All of it has so long, and a second more for each of these bytes.
GRACE_S = 60.0
SLOWEST_BYTES_PER_S = 1024
MEMORY_BYTES = 32 * 1024
# A piece is handed on when it is so large, after a second if it has a block at least, and when
# nothing comes for a while.
PIECE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 1024 * 1024
PIECE_S = 1.0
PAUSE_S = 2.0


class BodyLost(Exception):
    """The client is gone before all of it came."""


class BodyTooSlow(Exception):
    """The client does not send, or hardly does."""


def kept_body() -> IO[bytes]:
    """Where a body is kept: in memory while it is small, else in a file without a name."""
    return tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)


class Incoming:
    """The body that a client is sending, unless it has `ended` already."""

    def __init__(self, receive: Receive, *, ended: bool) -> None:
        self._receive = receive
        self._ended = ended
        self._waited_s = 0.0
        self.received = 0

    def is_over(self) -> bool:
        """Whether all of it has come in."""
        return self._ended

    async def next(self, *, within_s: float = IDLE_S) -> bytes:
        """The bytes that came meanwhile.

        Raises:
            BodyLost, BodyTooSlow
        """
        left_s = GRACE_S + self.received / SLOWEST_BYTES_PER_S - self._waited_s
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(within_s, left_s)):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow from None
        finally:
            # For the client alone: what is done with its bytes may take its time.
            self._waited_s += time.monotonic() - began
        if message["type"] != "http.request":
            raise BodyLost
        data: bytes = message.get("body", b"")
        self.received += len(data)
        self._ended = not message.get("more_body", False)
        return data

    async def piece(self) -> tuple[IO[bytes], int]:
        """What came until it is worth being handed on, and its size.

        Whoever is gone or too slow ends it; the next piece then raises that, if this one is empty.

        Raises:
            BodyLost, BodyTooSlow
        """
        kept, size, began = kept_body(), 0, time.monotonic()
        try:
            while not self._ended and size < PIECE_BYTES:
                try:
                    data = await self.next(within_s=PAUSE_S if size else IDLE_S)
                except (BodyLost, BodyTooSlow):
                    if not size:
                        raise
                    break
                kept.write(data)
                size += len(data)
                if size >= BLOCK_BYTES and time.monotonic() - began > PIECE_S:
                    break
        except BaseException:
            kept.close()
            raise
        kept.seek(0)
        return kept, size

    async def discard(self, *, for_s: float) -> None:
        """Read on for a while, so that the client gets to read the answer."""
        try:
            async with asyncio.timeout(for_s):
                while not self._ended:
                    await self.next()
        except (TimeoutError, BodyLost, BodyTooSlow):
            pass

"""A WSGI application's answer: made in a thread, sent by the loop."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from t2isearch.front.lanes import Lane
from t2isearch.front.requests import BLOCK_BYTES, Head, in_large_blocks

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# What the loop hands to a connection at once. The time for it is limited (`connections.py`).
SENT_BYTES = 64 * 1024
# Of a page that is larger, what a slow client has not read yet waits in a file.
MOST_IN_MEMORY = 1024 * 1024


class Rest:
    """What is still to come of an answer. Read by one thread at a time, not always the same."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._iterator: Iterator[bytes] = iter(parts)
        self._lock = threading.Lock()
        self.ended = False

    def more(self) -> bytes:
        """A block of it, or what there is until its end."""
        with self._lock:
            collected: list[bytes] = []
            size = 0
            while size < BLOCK_BYTES and not self.ended:
                try:
                    part = next(self._iterator)
                except StopIteration:
                    self.ended = True
                else:
                    collected.append(part)
                    size += len(part)
            return b"".join(collected)

    def close(self) -> None:
        """Have the application let go of what it holds for it."""
        with self._lock:
            self.ended = True
            if (close := getattr(self._parts, "close", None)) is not None:
                close()


@dataclass(slots=True)
class Answer:
    """An answer with the beginning of its body, and what gives the rest if there is more."""

    status: int
    headers: list[tuple[bytes, bytes]]
    beginning: bytes
    rest: Rest | None

    def header(self, name: bytes) -> bytes | None:
        return next((value for each, value in self.headers if each.lower() == name), None)


def answer_of(application: Application, environ: dict[str, Any]) -> Answer:
    """Run `application`, in this thread."""
    started: list[tuple[int, list[tuple[bytes, bytes]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], None]:
        encoded = [
            (name.encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers
        ]
        started.append((int(status.split(" ", 1)[0]), encoded))
        return _write

    parts = application(environ, start_response)
    rest = Rest(parts)
    try:
        status, headers = started[-1]
        beginning = b""
        if environ["REQUEST_METHOD"] == "HEAD" or status in {204, 304}:
            rest.ended = True
        elif getattr(parts, "streaming", True):
            beginning = rest.more()
        else:
            beginning = b"".join(parts)
            rest.ended = True
    except BaseException:
        rest.close()
        raise
    if rest.ended:
        rest.close()
        if len(beginning) > MOST_IN_MEMORY:
            return Answer(status, headers, b"", _on_disk(beginning))
        return Answer(status, headers, beginning, None)
    return Answer(status, headers, beginning, rest)


def _write(_data: bytes) -> None:
    raise NotImplementedError("Django does not write")


def _on_disk(content: bytes) -> Rest:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with what reads it
    file.write(content)
    file.seek(0)
    return Rest(in_large_blocks(file, 0))


async def send_answer(answer: Answer, head: Head, send: Send, *, lane: Lane) -> None:
    """Send an answer as fast as its client reads it. The threads of `lane` make more of it."""
    rest = answer.rest
    try:
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        if rest is None and len(answer.beginning) <= SENT_BYTES:
            await send({"type": "http.response.body", "body": answer.beginning})
            return
        # A client that does not read has no more of it in memory than has to be.
        block, answer.beginning = answer.beginning, b""
        while True:
            for start in range(0, len(block), SENT_BYTES):
                part = block[start : start + SENT_BYTES]
                await send({"type": "http.response.body", "body": part, "more_body": True})
                if head.is_gone():
                    await asyncio.sleep(0)  # for the server to notice as well
                    return
            if rest is None or rest.ended:
                break
            block = await lane.submit(rest.more)
        await send({"type": "http.response.body", "body": b""})
    finally:
        if rest is not None:
            lane.submit(rest.close)


async def send_plainly(status: int, sentence: str, send: Send) -> None:
    """An answer for when there is no thread that could make one."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(sentence)).encode()),
        (b"retry-after", b"5"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})

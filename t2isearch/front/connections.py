"""A connection: how long its client may take for what, and how much it may send before a body."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 1024
MOST_HEADERS = 200
# From the connection, or the answer before, to the end of a head: with uvicorn's own limit on
# idle connections, which begins at each answer.
HEAD_S = 30.0
# For a client that reads nothing, or so little that what waits for it hardly gets less.
STALLED_S = 60.0
# Requests that a client may have sent ahead of their answers.
MOST_AHEAD = 32
# While the process is stopping, a client is waited for no longer than this; what Django works on is
# given the time that the server has (`server.py`).
STOPPING_S = 1.0


class HeadTooLarge(Exception):
    """The head of a request is beyond what is taken."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with an end to a client's patience.

    A connection waits for its client in three ways: for a head, for a body and for an answer to be
    read. The first and the last are limited here, bodies by whoever receives them (`bodies.py`).
    """

    # Set by the server.
    most_connections = 1000

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._heard_at = time.monotonic()
        self._awaiting_head_since: float | None = time.monotonic()
        self._stalled_since: float | None = None
        self._stopping_since: float | None = None
        if len(self.connections) > self.most_connections:
            self._make_room()

    def _make_room(self) -> None:
        """End the connection that has kept everybody waiting for longest."""
        waits = [
            (since, each)
            for each in self.connections - {self}
            if isinstance(each, Connection) and not each.transport.is_closing()
            if (since := each.waits_since()) is not None
        ]
        if waits:
            min(waits, key=lambda pair: pair[0])[1].cut_off()

    def cut_off(self) -> None:
        """End it with what waits to be read, which the kernel would go on to offer."""
        line = self.transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def waits_since(self) -> float | None:
        """Since when the client keeps this connection waiting; None where it does not."""
        body = self._heard_at if self._is_sending() else None
        since = [each for each in (self._awaiting_head_since, self._stalled_since, body) if each]
        return min(since, default=None)

    def _is_sending(self) -> bool:
        # uvicorn has no cycle before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def check(self, now: float) -> None:
        """End it if the client takes too long. Asked about once a second."""
        if not self.transport.get_write_buffer_size():
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        if self._is_overdue(now):
            self.cut_off()

    def _is_overdue(self, now: float) -> bool:
        if self._stopping_since is not None and now - self._stopping_since > STOPPING_S:
            return self.waits_since() is not None
        heads, stalls = self._awaiting_head_since, self._stalled_since
        return (heads is not None and now - heads > HEAD_S) or (
            stalls is not None and now - stalls > STALLED_S
        )

    def resume_writing(self) -> None:
        self._stalled_since = None
        super().resume_writing()

    def shutdown(self) -> None:
        self._stopping_since = time.monotonic()
        super().shutdown()

    # The head

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["is_gone"] = self.transport.is_closing

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        super().data_received(data)
        if self._awaiting_head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES or len(self.headers) > MOST_HEADERS or len(self.pipeline) > MOST_AHEAD:
            raise HeadTooLarge  # answered with 400, as whatever the parser does not take
        self._awaiting_head_since, self._head_bytes = None, 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._awaiting_head_since, self._head_bytes = time.monotonic(), 0

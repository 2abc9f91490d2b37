"""Messages between a process and its decoder: JSON and bytes, over a Unix socket.

A message is the length of its header (four bytes, big-endian), the header (a JSON object, whose
`sizes` are the lengths of what follows) and the parts. Nothing in it can run: what a decoder says
that was taken over by a picture is only ever read as numbers, texts and bytes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

Header: TypeAlias = dict[str, Any]

_LENGTH = struct.Struct("!I")
MOST_HEADER_BYTES = 64 * 1024
MOST_PARTS = 4
MOST_PART_BYTES = 32 * 1024 * 1024


class Gone(Exception):
    """The other side has closed its end."""


class Garbled(Exception):
    """What came is no message."""


def send(connection: socket.socket, header: Header, parts: Sequence[bytes] = ()) -> None:
    """Raises Gone."""
    content = json.dumps(header | {"sizes": [len(part) for part in parts]}).encode()
    try:
        for piece in (_LENGTH.pack(len(content)) + content, *parts):
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Gone from error


def receive(
    connection: socket.socket, *, deadline: float | None = None
) -> tuple[Header, list[bytes]]:
    """The next message. `deadline` is a monotonic time.

    Raises:
        Gone, Garbled
        TimeoutError: the message was not whole at the deadline.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, deadline))
    if length > MOST_HEADER_BYTES:
        raise Garbled("the header is too long")
    content = _exactly(connection, length, deadline)
    try:
        header = json.loads(content, parse_constant=_refuse)
        sizes = header.pop("sizes")
        if len(sizes) > MOST_PARTS or not all(
            type(size) is int and 0 <= size <= MOST_PART_BYTES for size in sizes
        ):
            raise Garbled("the parts are too large")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Garbled(repr(error)) from error
    return header, [_exactly(connection, size, deadline) for size in sizes]


def send_file(connection: socket.socket, descriptor: int) -> None:
    """Hand over an open file; no byte of it is copied. Raises Gone."""
    try:
        socket.send_fds(connection, [b"f"], [descriptor])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Gone from error


def receive_file(connection: socket.socket) -> int:
    """The descriptor that was handed over. Raises Gone."""
    _mark, descriptors, _flags, _address = socket.recv_fds(connection, 1, 1)
    if not descriptors:
        raise Gone
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        if deadline is not None:
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left)
        try:
            received = connection.recv_into(view)
        except ConnectionResetError as error:
            raise Gone from error
        if not received:
            raise Gone
        view = view[received:]
    return bytes(content)


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities, which are no JSON

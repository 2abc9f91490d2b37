"""What clients do to hold a server: heads and bodies that never end, answers that nobody reads,
pictures that cost much more than they weigh."""

from __future__ import annotations

import io
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from PIL import Image

MEGABYTE = 1024 * 1024
# What a client that does not want to read takes in before the server has to wait for it.
LITTLE = 4096


def connect(port: int, *, receive_bytes: int | None = None) -> socket.socket:
    line = socket.socket()
    line.settimeout(60)
    if receive_bytes is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    line.connect(("127.0.0.1", port))
    return line


def head(method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The head of a request as it is sent."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()


@contextmanager
def held(
    port: int, sent: bytes, *, count: int, receive_bytes: int | None = None
) -> Iterator[list[socket.socket]]:
    """`count` connections over which `sent` went, and which then neither send nor read."""
    with ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = stack.enter_context(connect(port, receive_bytes=receive_bytes))
            line.sendall(sent)
            lines.append(line)
        yield lines


def answer_to(port: int, sent: bytes, *, then: bytes = b"") -> tuple[int, bytes]:
    """The status and all that is read, however much of `then` the server takes in."""
    with connect(port) as line:
        line.sendall(sent)
        with suppress(OSError):
            line.sendall(then)
        return read_answer(line)


def read_answer(line: socket.socket) -> tuple[int, bytes]:
    """The status and what is read until the server closes, or says nothing for a second."""
    read = b""
    with suppress(OSError):
        while data := line.recv(65536):
            read += data
            line.settimeout(1)
    assert read.startswith(b"HTTP/1.1 "), read[:100]
    return int(read[9:12]), read


def form(size: int, *, name: str = "file") -> tuple[dict[str, str], bytes]:
    """The headers and the body of a form with a file of `size` bytes."""
    boundary = secrets.token_hex(16)
    body = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body += bytes(size) + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(body)),
    }
    return headers, body


def until(happened: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait for something.

    Raises:
        AssertionError: it did not happen in time.
    """
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def tiny_webp(width: int, height: int) -> bytes:
    """One colour: 38 bytes, however many pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(buffer, "WEBP", lossless=True, method=0)
    content = bytearray(buffer.getvalue())
    # Behind the chunk's name, its size and a byte: width and height, less one, in 14 bits each.
    at = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, at)
    bits = bits >> 28 << 28 | (height - 1) << 14 | (width - 1)
    struct.pack_into("<I", content, at, bits)
    return bytes(content)


def jpeg_of_scans(width: int, height: int, scans: int, *, colour: int = 0) -> bytes:
    """A progressive JPEG that says the same again and again, 60 bytes each time."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (10, 20, colour)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]

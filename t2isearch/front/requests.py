"""What the head of a request says, as WSGI has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

# What of a file goes from a thread to the loop at once.
BLOCK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request.

    `length` is the body's, 0 where there is none and None where it comes in chunks. `is_gone` says
    whether the connection has ended meanwhile.
    """

    environ: Mapping[str, Any]
    length: int | None
    is_gone: Callable[[], bool]

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    @property
    def path(self) -> str:
        return str(self.environ["PATH_INFO"])

    def header(self, name: str) -> str:
        """The header called `name` in `environ`'s way; empty where there is none."""
        return str(self.environ.get(name, ""))


def read_head(scope: Mapping[str, Any]) -> Head:
    """The head of the request in an ASGI scope."""
    environ = environ_of(scope)
    length: int | None = 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        length = None
    elif (said := environ.get("CONTENT_LENGTH")) is not None:
        length = int(said)  # the parser has read it as a number too
    return Head(environ, length, scope.get("state", {}).get("is_gone", _stays))


def _stays() -> bool:
    return False


def environ_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        # The bytes of the address, whatever they are in UTF-8.
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme") or "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": in_large_blocks,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper()
        # `X_Forwarded_For` would be taken for `X-Forwarded-For`, which a proxy replaces.
        if "_" in name:
            continue
        key = name.replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        value = raw_value.decode("latin-1")
        if key in environ:
            joint = "; " if key == "HTTP_COOKIE" else ","
            value = f"{environ[key]}{joint}{value}"
        environ[key] = value
    return environ


def in_large_blocks(file: IO[bytes], _size: int) -> FileWrapper:
    """`wsgi.file_wrapper`: Django's blocks of 4 KiB would each cost a turn."""
    return FileWrapper(file, BLOCK_BYTES)

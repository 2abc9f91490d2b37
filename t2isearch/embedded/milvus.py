"""Milvus Lite as a local gRPC server, so that the web process and the workers can share it.

Its write-ahead log keeps what was acknowledged when it is killed, and the kernel releases its lock.
"""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from t2isearch.embedded.child import Program, python_command


@dataclass(frozen=True, slots=True)
class MilvusLite:
    """The server for the data directory `data`, on a port of 127.0.0.1."""

    data: Path
    port: int
    title: str = "Milvus Lite"
    variable: str = "MILVUS_URI"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def program(self) -> Program:
        self.data.mkdir(mode=0o700, exist_ok=True)
        return Program(
            name="milvus",
            command=python_command(
                *("-m", "milvus_lite", "server", "--data-dir", str(self.data)),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ),
            # It closes its files on SIGINT only; SIGTERM ends it like a crash, which it survives.
            stop_with=((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0)),
            is_service=True,
        )

    def accepts_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def complete(self) -> None:
        """Collections are made on demand (search/milvus.py)."""

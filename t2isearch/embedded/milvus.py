"""Milvus Lite as a local gRPC server, so that the web process and the workers can share it.

Its write-ahead log keeps what was acknowledged when it is killed, and the kernel releases its lock.
All that it holds is derived: what is damaged is removed before it starts, and the application fills
a collection that is not there from PostgreSQL (search/mending.py).
"""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2isearch.embedded.child import Program, python_command
from t2isearch.files import discard, make_directory

# What a Parquet file begins and ends with.
_PARQUET = b"PAR1"


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
        make_directory(self.data)
        return Program(
            name="milvus",
            command=python_command(
                *("-m", "t2isearch.embedded.milvus_server", str(self.data), str(self.port)),
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

    def mend(self) -> list[str]:
        """Remove what is damaged, in words."""
        return clear_of_damage(self.data)

    def give_up_data(self) -> bool:
        """Remove everything: it is derived."""
        discard(self.data)
        make_directory(self.data)
        return True

    def explain(self, lines: list[str]) -> str | None:
        """There is nothing to do by hand."""
        return None


def clear_of_damage(data: Path) -> list[str]:
    """Remove what Milvus Lite could not read in its data directory; a sentence for each.

    Looked at is what is cheap to look at: whether files are there, and whole at both ends. Nothing
    may have it open.
    """
    objects = [data / "aliases.json", data / "database_properties.json"]
    directories = [data, data / "collections", data / "databases", data / ".database-staging"]
    files = [*objects, data / "LOCK"]
    removed = [
        *(path for path in directories if path.exists() and not path.is_dir()),
        *(path for path in files if path.exists() and not path.is_file()),
        *(path for path in objects if path.is_file() and not _is_object(path)),
        *(path for path in data.glob("collections/*") if not _is_whole(path)),
    ]
    for path in removed:
        discard(path)
    return [f"{path} was damaged and is made anew." for path in removed]


def _is_whole(collection: Path) -> bool:
    manifest = _read_object(collection / "manifest.json")
    if manifest is None or not _is_object(collection / "schema.json"):
        return False
    try:
        files = [
            collection / "partitions" / partition / name
            for partition, contents in manifest["partitions"].items()
            for name in (*contents["data_files"], *contents["delta_files"])
        ]
    except (KeyError, TypeError, AttributeError):
        return False
    directories = [collection / "wal", *collection.glob("partitions/*/*/")]
    # Of the log, Milvus Lite reads as much as is whole, unless a file is none.
    others = [*collection.glob("wal/*"), *collection.glob("partitions/*/*/*")]
    return (
        all(_is_parquet(file) for file in files)
        and all(not path.exists() or path.is_dir() for path in directories)
        and all(path.is_file() and os.access(path, os.R_OK) for path in others)
    )


def _is_object(file: Path) -> bool:
    return _read_object(file) is not None


def _read_object(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(_PARQUET))
            opened.seek(-len(_PARQUET), os.SEEK_END)
            return begins == _PARQUET == opened.read()
    except OSError:
        return False

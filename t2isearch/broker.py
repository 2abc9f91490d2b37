"""kombu's filesystem transport, with files that appear whole or not at all.

kombu writes each message and each table of an exchange in place, and reads them without waiting for
who writes: a worker that looks at the wrong moment finds an empty file, and ends.
"""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps, loads

_LONGEST_WAIT_S = 0.3


class Channel(filesystem.Channel):
    """Names and contents are kombu's own; only how they get there is not."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # type: ignore[override]
        # Sorted by name when they are read.
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out, name), dumps(message))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for file in sorted(Path(self.data_folder_in).iterdir()):
            if file.name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = file.with_name(f".{uuid.uuid4()}")
            try:
                file.rename(taken)
            except FileNotFoundError:
                continue  # another worker was quicker
            message = taken.read_text()
            taken.unlink()
            return loads(message)
        raise Empty

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None
    ) -> None:
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table_of(exchange) as table:
            if bound not in table:
                table.insert(0, bound)

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any
    ) -> None:
        # As kombu's own begins.
        virtual.Channel._delete(self, queue, exchange, routing_key, pattern, *args, **kwargs)
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table_of(exchange) as table:
            if bound in table:
                table.remove(bound)

    @contextmanager
    def _table_of(self, exchange: str) -> Iterator[list[Any]]:
        """The exchange's table, for changing it: nobody else does meanwhile."""
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        self.control_folder.mkdir(exist_ok=True)
        with (self.control_folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            table = self.get_table(exchange)
            before = list(table)
            yield table
            if table != before:
                _write_whole(file, dumps(table))


class Transport(filesystem.Transport):
    Channel = Channel

    # The stubs of kombu's two base classes differ.
    def drain_events(  # type: ignore[override]
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """As kombu's, in which a worker that is to stop would wait for two seconds."""
        super().drain_events(connection, timeout=timeout and min(timeout, _LONGEST_WAIT_S))


def _write_whole(file: Path, text: str) -> None:
    # No reader takes a name that begins with a dot for a message or a table.
    part = file.with_name(f".{uuid.uuid4()}")
    try:
        part.write_text(text)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ChannelError(f"{file} can't be written: {error}") from error


def use_whole_files() -> None:
    """Have `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{Transport.__name__}"

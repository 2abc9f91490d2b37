"""kombu's filesystem transport, with files that appear whole or not at all.

kombu writes each message and each table of an exchange in place, and reads them without waiting for
who writes: a worker that looks at the wrong moment finds an empty file, and ends. Nor may one that
was damaged end it: a message only wakes (docs/decisions/0001), so what can't be read is removed.
"""

from __future__ import annotations

import fcntl
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import IO, Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps, loads

from t2isearch.files import discard, make_directory

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.3

# By an exchange's file: the bindings that this process declared.
_bound: dict[Path, set[Any]] = {}


class Channel(filesystem.Channel):
    """Names and contents are kombu's own; only how they get there is not."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # type: ignore[override]
        # Sorted by name when they are read.
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out, name), dumps(message))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for file in _files_in(Path(self.data_folder_in)):
            if file.name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = file.with_name(f".{uuid.uuid4()}")
            try:
                file.rename(taken)
            except FileNotFoundError:
                continue  # another worker was quicker
            try:
                return self._checked(loads(taken.read_bytes()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning("the message %s can't be read and is left out: %r", file, error)
            finally:
                discard(taken)
        raise Empty

    def _checked(self, message: Any) -> Any:
        """Raises what taking the message apart later would raise, which ends a worker there."""
        found = self.Message(payload=message, channel=self)
        _address = found.delivery_info["exchange"], found.delivery_info["routing_key"]
        return message

    def _size(self, queue: str) -> int:
        names = (file.name for file in _files_in(Path(self.data_folder_in)))
        return sum(name.partition(".")[2] == f"{queue}.msg" for name in names)

    def _purge(self, queue: str) -> int:
        purged = 0
        for file in _files_in(Path(self.data_folder_in)):
            if file.name.partition(".")[2] == f"{queue}.msg":
                discard(file)
                purged += 1
        return purged

    def get_table(self, exchange: str) -> list[Any]:
        table = self._read_table(exchange)
        if self._bound_here(exchange).issubset(table):
            return table
        with self._table_of(exchange) as table:
            return table

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None
    ) -> None:
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        self._bound_here(exchange).add(bound)
        with self._table_of(exchange):
            pass

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any
    ) -> None:
        # As kombu's own begins.
        virtual.Channel._delete(self, queue, exchange, routing_key, pattern, *args, **kwargs)
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        self._bound_here(exchange).discard(bound)
        with self._table_of(exchange) as table:
            if bound in table:
                table.remove(bound)

    def _bound_here(self, exchange: str) -> set[Any]:
        """What this process bound: it puts that back into a table that was damaged or is gone."""
        return _bound.setdefault(self._exchange_file(exchange), set())  # type: ignore[attr-defined]

    def _read_table(self, exchange: str) -> list[Any]:
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        try:
            return [filesystem.exchange_queue_t(*row) for row in loads(file.read_bytes())]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s can't be read and is made anew: %s", file, error)
            discard(file)
            return []

    @contextmanager
    def _table_of(self, exchange: str) -> Iterator[list[Any]]:
        """The exchange's table, for changing it: nobody else does meanwhile."""
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        make_directory(self.control_folder)
        with _opened_for_locking(self.control_folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read_table(exchange)
            table = [*(self._bound_here(exchange) - set(before)), *before]
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


def _files_in(folder: Path) -> list[Path]:
    """Its files, oldest first; a folder that is gone is made anew."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        make_directory(folder)
        return []


def _opened_for_locking(file: Path) -> IO[str]:
    try:
        return file.open("a")
    except IsADirectoryError:
        discard(file)
        return file.open("a")


def _write_whole(file: Path, text: str) -> None:
    # No reader takes a name that begins with a dot for a message or a table.
    part = file.with_name(f".{uuid.uuid4()}")
    try:
        make_directory(file.parent)
        part.write_text(text)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ChannelError(f"{file} can't be written: {error}") from error


def use_whole_files() -> None:
    """Have `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{Transport.__name__}"

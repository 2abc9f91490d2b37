"""Milvus: the only module that speaks to it.

A collection holds `photo_id` (INT64, primary key), `owner_id` (INT64, partition key), `taken_at`
(INT64, seconds since 1970) and `embedding` (FLOAT_VECTOR), indexed with HNSW under COSINE.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import grpc
import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient, MilvusException  # noqa: TID251 - its one place

from t2isearch.counters import milvus_failures, milvus_seconds
from t2isearch.redaction import redacted

# It has a handler of its own, which writes down whole vectors. What failed is raised here.
_log_of_pymilvus = logging.getLogger("pymilvus")
_log_of_pymilvus.handlers.clear()
_log_of_pymilvus.setLevel(logging.CRITICAL)

# For photos without a time: before every time that can be asked for.
NO_TIME = -(2**62)
# Milvus answers no more hits than this (quotaAndLimits.limits.topK).
MOST_HITS = 16_384
# Nor more rows of one query (quotaAndLimits.limits.maxQueryResultWindow).
MOST_ROWS = 16_384
PRIMARY_KEY, PARTITION_KEY, TAKEN_AT, VECTOR = "photo_id", "owner_id", "taken_at", "embedding"

_FACTS = (PRIMARY_KEY, PARTITION_KEY, TAKEN_AT)
# How many keys a filter expression lists.
_MOST_IDS = 1000

# Milvus's error codes (pkg/util/merr): there is no such collection; it is not in memory.
_NOT_FOUND, _NOT_LOADED = 100, 101
# Those of a server that can't be reached, is not up yet or has too much to do: they say nothing
# about a collection. (Milvus Lite's 6 does: a schema that can't be read.)
_OF_THE_SERVER = {2, 3, 4, 5, 7, 8, 9, 10}
# How pymilvus begins what it says of a call that took too long, and what an operating system says
# where a disk, memory or files have run out, which no other collection would help.
_NOT_ITS_FAULT = re.compile(
    r"\] Retry (timeout|run out)|No space left|quota exceeded|Cannot allocate memory"
    r"|Too many open files",
    re.IGNORECASE,
)
# Each call has its time limit. pymilvus would ask an idle server every 10 s whether it is there,
# and servers with gRPC's own defaults (Milvus Lite) hang up on who asks more than every 5 minutes.
_CHANNEL = {"grpc.keepalive_time_ms": 310_000}
# Of what Milvus says: it is kept and shown.
_LONGEST_MESSAGE = 500
# For so long after a failure nobody else waits for a server that does not answer.
_PAUSE_S = 2.0

Result = TypeVar("Result")

_lock = threading.Lock()


class MilvusUnavailable(Exception):
    """Milvus cannot be reached or refused a call; the message is for an operator."""


class CollectionMissing(MilvusUnavailable):
    """Milvus answers, but has lost (or never had) the collection."""


class CollectionDamaged(MilvusUnavailable):
    """Milvus answers, but what it keeps of the collection can't be used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a collection. `embedding` is float32 of shape (dimension,), L2-normalised."""

    photo_id: int
    owner_id: int
    taken_at: int
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Facts:
    """One row of a collection without its embedding."""

    photo_id: int
    owner_id: int
    taken_at: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: `similarity` is the cosine, -1 to 1."""

    photo_id: int
    similarity: float


class _Breaker:
    """Keeps the threads of a web process from all waiting for a Milvus that hangs.

    After a failure one call at a time finds out whether Milvus is back, the others fail at once
    (Nygard, "Release It!", 2007: circuit breaker).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._reason = ""

    def enter(self, patience_s: float) -> None:
        """Raises MilvusUnavailable while somebody else finds out."""
        with self._lock:
            now = time.monotonic()
            if not self._reason:
                return
            if now < self._closed_until:
                raise MilvusUnavailable(self._reason)
            self._closed_until = now + patience_s + _PAUSE_S

    def failed(self, reason: str) -> None:
        with self._lock:
            self._reason = reason
            self._closed_until = time.monotonic() + _PAUSE_S

    def succeeded(self) -> None:
        with self._lock:
            self._reason = ""


_breaker = _Breaker()


@lru_cache(maxsize=1)
def _connected() -> MilvusClient:
    return MilvusClient(
        uri=settings.MILVUS_URI,
        token=settings.MILVUS_TOKEN,
        timeout=settings.MILVUS_SEARCH_TIMEOUT_S,
        grpc_options=_CHANNEL,
    )


def _client() -> MilvusClient:
    """The process's client, made on first use: a gRPC channel does not survive a fork."""
    with _lock:
        return _connected()


def disconnect() -> None:
    """Forget the connection and what is known of the server; the next call connects anew."""
    with _lock:
        _connected.cache_clear()
        _version.cache_clear()
        _breaker.succeeded()


@contextmanager
def _failures(timeout_s: float) -> Iterator[None]:
    _breaker.enter(timeout_s)
    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        message = redacted(str(getattr(error, "message", "") or error), longest=_LONGEST_MESSAGE)
        if getattr(error, "code", None) == _NOT_FOUND:
            _breaker.succeeded()
            raise CollectionMissing(message) from error
        if isinstance(error, _Refused):
            _breaker.succeeded()
            milvus_failures.inc()
            raise CollectionDamaged(message) from error
        _breaker.failed(message)
        milvus_failures.inc()
        raise MilvusUnavailable(message) from error
    else:
        _breaker.succeeded()


def _call(
    name: str, do: Callable[[MilvusClient, float], Result], *, timeout_s: float | None = None
) -> Result:
    """Call Milvus about the collection `name`, loading it where it is not in memory.

    Milvus Lite holds no collection in memory after it was started again.
    """
    patience_s = timeout_s or settings.MILVUS_TIMEOUT_S
    with _failures(patience_s):
        client = _client()
        try:
            try:
                return do(client, patience_s)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            client.load_collection(name, timeout=patience_s)
            return do(client, patience_s)
        except MilvusException as error:
            if _is_damage(error):
                raise _Refused(error.code, error.message) from error
            raise


class _Refused(MilvusException):  # type: ignore[misc]
    """The server answered that it can't do with the collection what was asked for."""


def _is_damage(error: MilvusException) -> bool:
    """Whether the server is well and its answer says that it can't use a collection."""
    return (
        isinstance(error.code, int)
        and error.code not in {_NOT_FOUND, _NOT_LOADED} | _OF_THE_SERVER
        and not error.retriable
        and not _NOT_ITS_FAULT.search(error.message)
    )


@lru_cache(maxsize=1)
def _version() -> str:
    return str(_client().get_server_version(timeout=settings.MILVUS_TIMEOUT_S))


def _is_lite() -> bool:
    """Whether it is Milvus Lite, the Python engine (not the server that came as a wheel, 2.3)."""
    return "lite" in _version() and not _is_older_than(2, 4)


def fails_for_good() -> bool:
    """Whether a collection that fails once will fail again: a server may only be starting.

    Raises MilvusUnavailable.
    """
    with _failures(settings.MILVUS_TIMEOUT_S):
        return _is_lite()


def _loses_upserts() -> bool:
    """Before 2.4, an upsert into a collection with a partition key loses rows (seen in 2.3.5)."""
    return _is_older_than(2, 4)


def _is_older_than(*wanted: int) -> bool:
    numbers = re.findall(r"\d+", _version())[: len(wanted)]
    return tuple(int(number) for number in numbers) < wanted


def ping() -> str:
    """The server's version. Raises MilvusUnavailable."""
    patience_s = settings.MILVUS_SEARCH_TIMEOUT_S
    with _failures(patience_s):
        return str(_client().get_server_version(timeout=patience_s))


def ensure_collection(name: str, dimension: int) -> bool:
    """Create the collection unless it is there; whether it was. Raises MilvusUnavailable."""

    def create(client: MilvusClient, timeout_s: float) -> bool:
        if client.has_collection(name, timeout=timeout_s):
            return False
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(PRIMARY_KEY, DataType.INT64, is_primary=True)
        schema.add_field(PARTITION_KEY, DataType.INT64, is_partition_key=True)
        schema.add_field(TAKEN_AT, DataType.INT64)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
        indexes = client.prepare_index_params()
        indexes.add_index(
            VECTOR,
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": 16, "efConstruction": 200},
        )
        partitions = settings.MILVUS_PARTITIONS
        client.create_collection(
            name,
            schema=schema,
            index_params=indexes,
            consistency_level="Bounded",
            timeout=timeout_s,
            **({"num_partitions": partitions} if partitions else {}),
        )
        return True

    return _call(name, create)


def has_collection(name: str) -> bool:
    """Whether the collection exists. Raises MilvusUnavailable."""
    return _call(
        name, lambda client, timeout_s: bool(client.has_collection(name, timeout=timeout_s))
    )


def collection_dimension(name: str) -> int | None:
    """The dimension of the collection's vectors; None when there is no such collection."""

    def describe(client: MilvusClient, timeout_s: float) -> int | None:
        if not client.has_collection(name, timeout=timeout_s):
            return None
        fields = client.describe_collection(name, timeout=timeout_s)["fields"]
        return next(int(field["params"]["dim"]) for field in fields if field["name"] == VECTOR)

    return _call(name, describe)


def try_collection(name: str, dimension: int) -> None:
    """See that the collection can be searched: nothing less reads all that is kept of it.

    Raises:
        MilvusUnavailable
        CollectionMissing
        CollectionDamaged
    """
    search(name, np.full(dimension, dimension**-0.5, dtype=np.float32), owner_id=0, limit=1)


def drop_collection(name: str) -> None:
    """Drop the collection; an absent one is no error. Raises MilvusUnavailable."""
    _call(name, lambda client, timeout_s: client.drop_collection(name, timeout=timeout_s))


def upsert(name: str, entries: Sequence[Entry], *, seal: bool = True) -> None:
    """Write entries, replacing those of the same photos.

    Who writes many pages leaves all but some unsealed (`seal`), which takes half the time, and
    seals at the end, be it with no entries.

    Raises:
        MilvusUnavailable
        CollectionMissing
    """
    if not entries:
        if seal:
            _call(name, lambda client, timeout_s: _seal(client, name, timeout_s))
        return
    rows = [
        {
            PRIMARY_KEY: entry.photo_id,
            PARTITION_KEY: entry.owner_id,
            TAKEN_AT: entry.taken_at,
            VECTOR: entry.embedding,
        }
        for entry in entries
    ]

    def write(client: MilvusClient, timeout_s: float) -> None:
        if _loses_upserts():
            client.delete(name, ids=[row[PRIMARY_KEY] for row in rows], timeout=timeout_s)
            client.insert(name, rows, timeout=timeout_s)
        else:
            client.upsert(name, rows, timeout=timeout_s)
        if seal:
            _seal(client, name, timeout_s)

    _call(name, write)


def delete(name: str, photo_ids: Sequence[int]) -> None:
    """Remove photos from a collection; absent ones and absent collections are no error."""
    if not photo_ids:
        return

    def remove(client: MilvusClient, timeout_s: float) -> None:
        client.delete(name, ids=list(photo_ids), timeout=timeout_s)
        _seal(client, name, timeout_s)

    try:
        _call(name, remove)
    except CollectionMissing:
        return


def _seal(client: MilvusClient, name: str, timeout_s: float) -> None:
    # Milvus Lite searches rows that are not flushed in Python, 70 times slower over 10,000 rows. A
    # server seals its segments by itself, and better.
    if _is_lite():
        client.flush(name, timeout=timeout_s)


def search(
    name: str,
    vector: NDArray[np.float32],
    *,
    owner_id: int,
    limit: int,
    taken_after: int | None = None,
    taken_before: int | None = None,
    photo_ids: Sequence[int] | None = None,
) -> list[Hit]:
    """The owner's photos nearest to `vector`, most similar first, at most `limit`.

    `taken_after` (inclusive) and `taken_before` (exclusive) are seconds since 1970; `photo_ids`
    are the only ones that are looked at.

    Raises:
        MilvusUnavailable
        CollectionMissing
    """
    # Milvus Lite knows no expression templates; these are numbers of ours and nothing else.
    conditions = [f"{PARTITION_KEY} == {int(owner_id)}"]
    if taken_after is not None:
        conditions.append(f"{TAKEN_AT} >= {int(taken_after)}")
    if taken_before is not None:
        conditions.append(f"{TAKEN_AT} < {int(taken_before)}")
        conditions.append(f"{TAKEN_AT} > {NO_TIME}")
    if photo_ids is not None:
        conditions.append(_in(photo_ids))
    limit = min(limit, MOST_HITS)
    with milvus_seconds.time():
        found = _call(
            name,
            lambda client, timeout_s: client.search(
                name,
                data=[vector],
                anns_field=VECTOR,
                filter=" and ".join(conditions),
                limit=limit,
                output_fields=[PRIMARY_KEY],
                search_params={"metric_type": "COSINE", "params": {"ef": max(64, limit)}},
                timeout=timeout_s,
            ),
            timeout_s=settings.MILVUS_SEARCH_TIMEOUT_S,
        )
    return [Hit(photo_id=int(hit.id), similarity=float(hit.distance)) for hit in found[0]]


def facts_between(name: str, first: int, last: int, *, owner_id: int | None = None) -> list[Facts]:
    """What the collection holds of the photos `first` to `last` (inclusive), by photo id.

    Everything written before is seen (consistency level `Strong`). A range that holds more rows
    than Milvus gives at once is halved until it does not.

    Raises:
        MilvusUnavailable
        CollectionMissing
    """
    if first > last:
        return []
    condition = f"{PRIMARY_KEY} >= {int(first)} and {PRIMARY_KEY} <= {int(last)}"
    if owner_id is not None:
        condition += f" and {PARTITION_KEY} == {int(owner_id)}"
    rows: list[dict[str, Any]] = _call(
        name,
        lambda client, timeout_s: list(
            client.query(
                name,
                filter=condition,
                output_fields=list(_FACTS),
                limit=MOST_ROWS,
                consistency_level="Strong",
                timeout=timeout_s,
            )
        ),
    )
    if len(rows) == MOST_ROWS and first < last:
        middle = (first + last) // 2
        return [
            *facts_between(name, first, middle, owner_id=owner_id),
            *facts_between(name, middle + 1, last, owner_id=owner_id),
        ]
    return sorted((_facts(row) for row in rows), key=lambda each: each.photo_id)


def facts_of(name: str, photo_ids: Sequence[int]) -> list[Facts]:
    """What the collection holds of these photos. Raises MilvusUnavailable, CollectionMissing."""
    found = []
    for start in range(0, len(photo_ids), _MOST_IDS):
        rows = _get(name, photo_ids[start : start + _MOST_IDS], *_FACTS)
        found += [_facts(row) for row in rows]
    return found


def _facts(row: dict[str, Any]) -> Facts:
    return Facts(*(int(row[name]) for name in _FACTS))


def count(name: str, *, timeout_s: float | None = None) -> int:
    """How many vectors the collection holds. Raises MilvusUnavailable, CollectionMissing."""
    rows = _call(
        name,
        lambda client, timeout_s: list(
            client.query(
                name,
                filter="",
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=timeout_s,
            )
        ),
        timeout_s=timeout_s,
    )
    return int(rows[0]["count(*)"])


def embedding(name: str, photo_id: int) -> NDArray[np.float32] | None:
    """The photo's embedding, float32 of shape (dimension,); None when it has none.

    Raises:
        MilvusUnavailable
        CollectionMissing
    """
    rows = _get(name, [photo_id], VECTOR)
    return np.asarray(rows[0][VECTOR], dtype=np.float32) if rows else None


def embeddings(name: str, photo_ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """The embeddings of those photos that have one. Raises MilvusUnavailable."""
    rows = [
        row
        for start in range(0, len(photo_ids), _MOST_IDS)
        for row in _get(name, photo_ids[start : start + _MOST_IDS], PRIMARY_KEY, VECTOR)
    ]
    return {int(row[PRIMARY_KEY]): np.asarray(row[VECTOR], dtype=np.float32) for row in rows}


def present_ids(name: str, photo_ids: Sequence[int]) -> set[int]:
    """Which of the photos have a vector in the collection. Raises MilvusUnavailable."""
    return {facts.photo_id for facts in facts_of(name, photo_ids)}


def _get(name: str, photo_ids: Sequence[int], *fields: str) -> list[dict[str, Any]]:
    # Not `get`, which refuses a consistency level on some servers.
    return _call(
        name,
        lambda client, timeout_s: list(
            client.query(
                name,
                filter=_in(photo_ids),
                output_fields=list(fields),
                limit=len(photo_ids),
                consistency_level="Strong",
                timeout=timeout_s,
            )
        ),
    )


def _in(photo_ids: Sequence[int]) -> str:
    return f"{PRIMARY_KEY} in {[int(photo_id) for photo_id in photo_ids]}"

"""What search/milvus.py promises, on Milvus Lite and on a Milvus server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pymilvus import MilvusClient  # noqa: TID251 - to see what was made
from pytest_django import Settings

from search import milvus
from search.milvus import CollectionMissing, Entry, Facts, MilvusUnavailable
from tests.milvus_server import find_binary, running_milvus_server
from tests.services import skip_or_fail

DIMENSION = 32
Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = find_binary()
    if binary is None:
        skip_or_fail(
            "No Milvus server found: `make milvus-server` installs one, or set MILVUS_SERVER.",
            required="REQUIRE_MILVUS_SERVER",
        )
    assert binary is not None
    with running_milvus_server(binary, tmp_path_factory.mktemp("milvus-server")) as uri:
        yield uri


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def collection(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    """The name of an empty collection, on the one and on the other."""
    if request.param == "server":
        settings.MILVUS_URI = request.getfixturevalue("server_uri")
        milvus.disconnect()
    name = f"contract_{time.time_ns()}"
    assert milvus.ensure_collection(name, DIMENSION)
    yield name
    milvus.disconnect()
    milvus.drop_collection(name)
    milvus.disconnect()


@pytest.mark.milvus_server
def test_the_number_of_partitions(settings: Settings, server_uri: str) -> None:
    settings.MILVUS_URI, settings.MILVUS_PARTITIONS = server_uri, 3
    milvus.disconnect()
    name = f"partitions_{time.time_ns()}"
    assert milvus.ensure_collection(name, DIMENSION)
    client = MilvusClient(uri=server_uri)
    try:
        assert len(client.list_partitions(name)) == 3
    finally:
        client.close()
        milvus.drop_collection(name)
        milvus.disconnect()


def random_vectors(count: int, *, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def entries(vectors: Vectors, *, owners: int = 1) -> list[Entry]:
    return [
        Entry(number + 1, number % owners + 1, 1000 * number, vector)
        for number, vector in enumerate(vectors)
    ]


def eventually(holds: Callable[[], bool]) -> None:
    """A server's searches see what was written within a moment (consistency level `Bounded`)."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def hit_ids(name: str, vector: Vectors, **options: Any) -> list[int]:
    return [hit.photo_id for hit in milvus.search(name, vector, **{"limit": 10, **options})]


def test_the_collection_is_what_the_documents_say(collection: str) -> None:
    assert not milvus.ensure_collection(collection, DIMENSION)
    assert milvus.has_collection(collection)
    assert milvus.collection_dimension(collection) == DIMENSION
    assert milvus.collection_dimension("nothing") is None
    assert milvus.ping()


def test_searches_agree_with_brute_force_in_each_partition(collection: str) -> None:
    vectors = random_vectors(900)
    milvus.upsert(collection, entries(vectors, owners=3))
    eventually(lambda: milvus.count(collection) == 900)
    query = random_vectors(1, seed=1)[0]
    for owner in (1, 2, 3):
        own = np.arange(owner - 1, 900, 3)
        wanted = own[np.argsort(-(vectors[own] @ query))][:10] + 1
        eventually(
            lambda owner=owner, wanted=wanted: (  # type: ignore[misc]
                len(set(hit_ids(collection, query, owner_id=owner)) & set(wanted)) >= 9
            )
        )
        hits = milvus.search(collection, query, owner_id=owner, limit=10)
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        for hit in hits:
            assert hit.similarity == pytest.approx(vectors[hit.photo_id - 1] @ query, abs=1e-3)


def test_days_are_filtered(collection: str) -> None:
    vectors = random_vectors(5)
    rows = entries(vectors)
    rows[4] = Entry(5, 1, milvus.NO_TIME, vectors[4])
    milvus.upsert(collection, rows)
    eventually(lambda: len(hit_ids(collection, vectors[0], owner_id=1)) == 5)
    for options, wanted in (
        ({"taken_after": 2000}, {3, 4}),
        ({"taken_before": 2000}, {1, 2}),
        ({"taken_after": 1000, "taken_before": 3000}, {2, 3}),
    ):
        assert set(hit_ids(collection, vectors[0], owner_id=1, **options)) == wanted


def test_an_upsert_replaces_also_in_another_partition(collection: str) -> None:
    vectors = random_vectors(3)
    milvus.upsert(collection, entries(vectors))
    milvus.upsert(collection, [Entry(2, 7, 5, vectors[0])])
    milvus.upsert(collection, [Entry(2, 7, 6, vectors[0])])
    assert milvus.facts_between(collection, 0, 100) == [
        Facts(1, 1, 0),
        Facts(2, 7, 6),
        Facts(3, 1, 2000),
    ]
    stored = milvus.embedding(collection, 2)
    assert stored is not None
    np.testing.assert_allclose(stored, vectors[0], atol=1e-6)
    eventually(lambda: set(hit_ids(collection, vectors[0], owner_id=1)) == {1, 3})
    eventually(lambda: set(hit_ids(collection, vectors[0], owner_id=7)) == {2})


def test_ids_are_read_in_order_and_in_full(
    collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "MOST_ROWS", 7)
    rows = entries(random_vectors(60), owners=2)
    milvus.upsert(collection, rows[::-1])
    found = milvus.facts_between(collection, 11, 2**63 - 1)
    assert [facts.photo_id for facts in found] == list(range(11, 61))
    own = milvus.facts_between(collection, 1, 60, owner_id=2)
    assert [facts.photo_id for facts in own] == list(range(2, 61, 2))


def test_what_is_deleted_is_gone(collection: str) -> None:
    vectors = random_vectors(4)
    milvus.upsert(collection, entries(vectors))
    milvus.delete(collection, [1, 3, 99])
    assert milvus.present_ids(collection, [1, 2, 3, 4]) == {2, 4}
    assert milvus.embedding(collection, 1) is None
    eventually(lambda: set(hit_ids(collection, vectors[0], owner_id=1)) == {2, 4})


def test_a_collection_that_is_gone_is_said_to_be(collection: str) -> None:
    milvus.drop_collection(collection)
    milvus.drop_collection(collection)
    milvus.delete(collection, [1])
    vector = random_vectors(1)[0]
    with pytest.raises(CollectionMissing):
        milvus.search(collection, vector, owner_id=1, limit=1)
    with pytest.raises(CollectionMissing):
        milvus.upsert(collection, [Entry(1, 1, 0, vector)])
    assert milvus.ping()  # and that is no outage


def test_while_milvus_is_away_nobody_waits(settings: Settings) -> None:
    settings.MILVUS_URI = "http://127.0.0.1:9"
    milvus.disconnect()
    try:
        for _ in range(3):
            with pytest.raises(MilvusUnavailable):
                milvus.has_collection("photos")
    finally:
        milvus.disconnect()


def test_a_collection_that_is_not_in_memory_is_loaded(collection: str) -> None:
    """As after Milvus Lite was started again."""
    vectors = random_vectors(2)
    milvus.upsert(collection, entries(vectors))
    milvus._client().release_collection(collection)

    def found() -> bool:
        try:
            return set(hit_ids(collection, vectors[0], owner_id=1)) == {1, 2}
        except MilvusUnavailable:  # a server takes a while, and a search does not wait for it
            return False

    eventually(found)

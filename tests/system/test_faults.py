"""What a person has when parts of the system are killed, hang or are away."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus

import pytest

from t2isearch.embedded.state import published_environment
from tests.api_client import ApiClient
from tests.e2e.pictures import draw
from tests.running_system import RunningSystem

# A killed worker's photos are taken up again when its lease has ended (90 s) and at the next sweep.
pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UPLOADS = 50
RECOVERY_PATIENCE_S = 300.0
# What a person would wait for a page that has nothing to do with the search.
UNAFFECTED_S = 5.0
# A search that can't be answered says so before a person gives up on it.
OUTAGE_ANSWER_S = 30.0
# More than the web server has threads.
SEARCHES_AT_ONCE = 12
BANNER = "Search does not work at the moment."


def searchable(client: ApiClient) -> int:
    return sum(photo["searchable"] for photo in client.photos())


def wait_until_held(system: RunningSystem, table: str, state: str) -> None:
    """Wait until a worker has taken rows of `table` and is not done with them."""
    held = f"SELECT 1 FROM {table} WHERE state = %s AND attempts > 0"  # noqa: S608 - names of ours
    system.wait_until(lambda: system.query(held, state) != [], 60, f"work on {table} is under way")


def test_workers_killed_amid_uploads_lose_nothing(system: RunningSystem) -> None:
    client = ApiClient.of_new_person(system, "killed-workers")

    def upload(number: int) -> int:
        answer = client.upload(f"picture-{number}.jpg", draw(number, size=(1600, 1200)))
        assert answer.status == HTTPStatus.CREATED, answer.text
        return int(answer.data["id"])

    killed = {}
    with ThreadPoolExecutor(2) as uploads:
        uploaded = uploads.map(upload, range(UPLOADS))
        for name, table, state in (
            ("worker", "gallery_photo", "processing"),
            ("indexer", "search_photoindexing", "pending"),
        ):
            wait_until_held(system, table, state)
            killed[name] = system.pid_of(name)
            system.kill(name)
    ids = list(uploaded)
    assert searchable(client) < UPLOADS

    system.wait_until(
        lambda: searchable(client) == UPLOADS, RECOVERY_PATIENCE_S, "all photos are searchable"
    )
    assert all(system.pid_of(name) != pid for name, pid in killed.items())
    photos = client.photos()
    assert [photo["id"] for photo in photos] == sorted(ids, reverse=True)
    assert {photo["status"] for photo in photos} == {"ready"}
    rows = system.query(
        "SELECT photo_id, state FROM search_photoindexing WHERE photo_id = ANY(%s) ORDER BY 1", ids
    )
    assert rows == [(photo_id, "done") for photo_id in sorted(ids)]
    assert system.vectors_of("killed-workers") == sorted(ids)
    results = client.get("/api/v1/search/", q="coloured shapes", weak="true", limit=100).data[
        "results"
    ]
    assert sorted(result["photo"]["id"] for result in results) == sorted(ids)


def refuses_connections(system: RunningSystem) -> bool:
    host, port = published_environment(system.layout)["MILVUS_URI"].rsplit("/", 1)[-1].split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return True
    return False


def hang(system: RunningSystem) -> Callable[[], None]:
    """Milvus takes connections and never answers; returns what ends that."""
    system.send_signal("milvus", signal.SIGSTOP)
    return lambda: system.send_signal("milvus", signal.SIGCONT)


def refuse(system: RunningSystem) -> Callable[[], None]:
    """Milvus is killed and stays away, until what this returns lets the supervisor go on."""
    system.send_signal("supervisor", signal.SIGSTOP)
    system.kill("milvus")
    system.wait_until(lambda: refuses_connections(system), 10, "Milvus is away")
    return lambda: system.send_signal("supervisor", signal.SIGCONT)


@pytest.mark.parametrize("outage", [hang, refuse])
def test_without_milvus_only_the_search_is_away(
    system: RunningSystem, outage: Callable[[RunningSystem], Callable[[], None]]
) -> None:
    name = f"milvus-{outage.__name__}"
    client = ApiClient.of_new_person(system, name)
    unaffected = replace(client, timeout_s=UNAFFECTED_S)
    searching = replace(client, timeout_s=OUTAGE_ANSWER_S)
    first = client.upload("picture-0.jpg", draw(1000))
    assert first.status == HTTPStatus.CREATED
    system.wait_until(lambda: searchable(client) == 1, 60, "the photo is searchable")
    assert client.get("/search/", q="shapes").status == HTTPStatus.OK

    end_outage = outage(system)
    try:
        page = searching.get("/search/", q="shapes")
        assert page.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert BANNER in page.text
        assert "No photos found" not in page.text
        answer = searching.get("/api/v1/search/", q="shapes")
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert "can't be reached" in answer.data["detail"]
        ready = searching.get("/readyz")
        assert ready.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert "milvus" in ready.text

        with ThreadPoolExecutor(SEARCHES_AT_ONCE) as people:
            searches = [
                people.submit(searching.get, "/search/", q="shapes")
                for _ in range(SEARCHES_AT_ONCE)
            ]
            assert unaffected.get("/").status == HTTPStatus.OK
            for number in range(5):
                added = unaffected.upload(f"picture-{number}.jpg", draw(1001 + number))
                assert added.status == HTTPStatus.CREATED, added.text
            assert len(unaffected.photos()) == 6
            for search in searches:
                assert search.result().status == HTTPStatus.SERVICE_UNAVAILABLE
    finally:
        end_outage()

    system.wait_until(
        lambda: searchable(client) == 6, RECOVERY_PATIENCE_S, "all photos are searchable"
    )
    system.wait_until(
        lambda: client.get("/search/", q="shapes").status == HTTPStatus.OK, 60, "search is back"
    )
    assert len(client.get("/api/v1/search/", q="shapes", weak="true").data["results"]) == 6
    assert len(system.vectors_of(name)) == 6

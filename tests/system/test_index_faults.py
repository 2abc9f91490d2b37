"""The index after faults in any of its parts: complete, and nothing in it twice or too much."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import psycopg
import pytest

from gallery import processing
from t2isearch.embedded.state import BASE_DIR
from tests.api_client import ApiClient
from tests.e2e.pictures import draw
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UPLOADS = 12
PATIENCE_S = 240.0

Fault = Callable[[RunningSystem], Callable[[], None]]


def nothing() -> None:
    pass


def kill_indexer(system: RunningSystem) -> Callable[[], None]:
    system.kill("indexer")
    return nothing


def restart_postgres(system: RunningSystem) -> Callable[[], None]:
    system.send_signal("postgres", signal.SIGINT)
    return nothing


def kill_postgres(system: RunningSystem) -> Callable[[], None]:
    system.kill("postgres")
    return nothing


def lose_the_queue(system: RunningSystem) -> Callable[[], None]:
    """All messages vanish, and all that are sent until this ends."""
    for name in ("worker", "indexer"):
        system.send_signal(name, signal.SIGSTOP)

    def end() -> None:
        shutil.rmtree(system.layout.broker / "messages")
        (system.layout.broker / "messages").mkdir()
        for name in ("worker", "indexer"):
            system.send_signal(name, signal.SIGCONT)

    return end


def milvus_hangs(system: RunningSystem) -> Callable[[], None]:
    system.send_signal("milvus", signal.SIGSTOP)
    return lambda: system.send_signal("milvus", signal.SIGCONT)


def kill_milvus(system: RunningSystem) -> Callable[[], None]:
    system.kill("milvus")
    return nothing


def lose_milvus(system: RunningSystem) -> Callable[[], None]:
    """Its data are lost altogether: it starts again with an empty directory."""
    system.send_signal("supervisor", signal.SIGSTOP)
    system.kill("milvus")
    shutil.rmtree(system.layout.milvus)
    system.layout.milvus.mkdir()
    system.send_signal("supervisor", signal.SIGCONT)
    return nothing


def no_room_for_renditions(system: RunningSystem) -> Callable[[], None]:
    """Renditions can't be written: there is a file where their directory was."""
    renditions = system.layout.media / "renditions"
    aside = renditions.with_name("aside")
    renditions.rename(aside)
    renditions.touch()

    def end() -> None:
        renditions.unlink()
        aside.rename(renditions)

    return end


@contextmanager
def celery(system: RunningSystem, *arguments: str) -> Iterator[None]:
    """One more Celery process of the system."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "t2isearch", *arguments],
        cwd=BASE_DIR,
        env=system.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def findings(system: RunningSystem, *options: str) -> dict[str, int]:
    """What `manage.py verify_index` counts."""
    printed = system.manage("verify_index", *options).stdout
    return {name: int(number) for name, number in re.findall(r"^([a-z ]+): (\d+)", printed, re.M)}


def is_settled(system: RunningSystem) -> bool:
    """Every photo is searchable, or failed with a reason; nothing is left to be done."""
    unsettled = """
        SELECT 1 FROM gallery_photo
        WHERE state = 'processing' OR (state = 'failed' AND error = '')
        UNION ALL
        SELECT 1 FROM gallery_photo photo
        WHERE state = 'ready' AND NOT EXISTS (
            SELECT 1 FROM search_photoindexing row
            JOIN search_searchindex index ON index.id = row.index_id AND index.status = 'active'
            WHERE row.photo_id = photo.id
            AND (row.state = 'done' OR (row.state = 'failed' AND row.error <> ''))
        )
        UNION ALL
        SELECT 1 FROM search_pendingdeletion
        UNION ALL
        SELECT 1 FROM search_searchindex WHERE refilled_to IS NOT NULL AND dropped_at IS NULL
    """
    try:
        return not system.query(unsettled)
    except psycopg.OperationalError:
        return False  # PostgreSQL is on its way


def check_index(system: RunningSystem, client: ApiClient, expected: set[int]) -> None:
    """All is settled, nothing is missing or too much, and the person has just these photos."""
    system.wait_until(lambda: is_settled(system), PATIENCE_S, "everything is settled")
    found = findings(system)
    assert found, "verify_index could not be run"
    faults = {name: found[name] for name in ("missing", "orphaned", "wrongly owned", "stale")}
    assert faults == dict.fromkeys(faults, 0)
    photos = client.photos()
    assert {photo["id"] for photo in photos} == expected
    for photo in photos:
        assert photo["searchable"] or photo["error"]
    answer = client.get("/api/v1/search/", q="coloured shapes", weak="true", limit=200)
    assert answer.status == HTTPStatus.OK
    assert sorted(result["photo"]["id"] for result in answer.data["results"]) == sorted(expected)


def patiently(act: Callable[[], HTTPStatus]) -> None:
    """As a person does who is told to try again."""
    deadline = time.monotonic() + 90
    while True:
        try:
            status = act()
        except OSError:
            status = HTTPStatus.SERVICE_UNAVAILABLE
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.parametrize(
    "fault",
    [
        kill_indexer,
        lose_the_queue,
        no_room_for_renditions,
        milvus_hangs,
        kill_milvus,
        lose_milvus,
        restart_postgres,
        kill_postgres,
    ],
)
def test_nothing_is_lost_or_left_behind(system: RunningSystem, fault: Fault) -> None:
    client = ApiClient.of_new_person(system, fault.__name__.replace("_", "-"))
    seed = 10_000 + 100 * len(fault.__name__)
    expected: set[int] = set()

    def upload(number: int) -> None:
        def attempt() -> HTTPStatus:
            answer = client.upload(f"{number}.jpg", draw(seed + number))
            if answer.status in {HTTPStatus.CREATED, HTTPStatus.OK}:
                expected.add(int(answer.data["id"]))
            return answer.status

        patiently(attempt)

    def delete(photo_id: int) -> None:
        patiently(lambda: client.request("DELETE", f"/api/v1/photos/{photo_id}/").status)
        expected.discard(photo_id)

    for number in range(4):
        upload(number)
    system.wait_until(lambda: is_settled(system), PATIENCE_S, "the first photos are searchable")
    gone = sorted(expected)[:2]

    end = fault(system)
    try:
        with ThreadPoolExecutor(2) as people:
            done = list(people.map(upload, range(4, UPLOADS)))
        for photo_id in gone:
            delete(photo_id)
    finally:
        end()
    assert len(done) == UPLOADS - 4
    assert len(expected) == UPLOADS - 2
    check_index(system, client, expected)


def test_an_original_that_vanished_fails_with_a_reason(system: RunningSystem) -> None:
    client = ApiClient.of_new_person(system, "vanished")
    system.send_signal("worker", signal.SIGSTOP)
    try:
        lost, fine = (int(client.upload("a.jpg", draw(n)).data["id"]) for n in (7001, 7002))
        ((name,),) = system.query("SELECT original FROM gallery_photo WHERE id = %s", lost)
        (system.layout.media / name).unlink()
    finally:
        system.send_signal("worker", signal.SIGCONT)
    system.wait_until(lambda: is_settled(system), PATIENCE_S, "everything is settled")
    states = {photo["id"]: (photo["status"], photo["error"]) for photo in client.photos()}
    assert states == {lost: ("failed", processing.MISSING), fine: ("ready", "")}


def test_two_schedulers_and_two_indexers_do_nothing_twice(
    system: RunningSystem, tiny_clip: Path
) -> None:
    """While a generation is built, whose worker is killed in the middle, and switched to."""
    client = ApiClient.of_new_person(system, "twice")
    expected = {int(client.upload(f"{n}.jpg", draw(8000 + n)).data["id"]) for n in range(UPLOADS)}
    system.wait_until(lambda: is_settled(system), PATIENCE_S, "the photos are searchable")
    ((before,),) = system.query("SELECT id FROM search_searchindex WHERE status = 'active'")
    with (
        celery(system, "beat", "--schedule", str(system.layout.run / "second"), "--pidfile="),
        celery(system, "worker", "-Q", "index", "--concurrency", "1", "-n", "second@%h"),
    ):
        started = system.manage("build_index", "--encoder", str(tiny_clip), "--no-wait")
        assert started.returncode == 0, started.stderr
        system.kill("indexer")
        expected.add(int(client.upload("late.jpg", draw(8100)).data["id"]))
        watched = system.manage("build_index", "--activate")
        assert watched.returncode == 0, watched.stderr
        assert "is active" in watched.stdout
    check_index(system, client, expected)

    rolled_back = system.manage("activate_index", "--roll-back")
    assert rolled_back.returncode == 0, rolled_back.stderr
    ((again,),) = system.query("SELECT id FROM search_searchindex WHERE status = 'active'")
    assert again == before
    check_index(system, client, expected)
    ((built,),) = system.query(
        "SELECT id FROM search_searchindex WHERE status = 'retired' ORDER BY id DESC LIMIT 1"
    )
    assert system.manage("drop_index", str(built)).returncode == 0
    system.wait_until(
        lambda: not system.query("SELECT 1 FROM search_photoindexing WHERE index_id = %s", built),
        60,
        "the generation is removed",
    )


def test_searches_go_on_while_a_generation_is_built_and_switched_to(
    system: RunningSystem, tiny_clip: Path
) -> None:
    """A client that searches without pause meets no error and no empty answer."""
    client = ApiClient.of_new_person(system, "switch")
    ids = [int(client.upload(f"{n}.jpg", draw(9000 + n)).data["id"]) for n in range(30)]
    system.wait_until(lambda: is_settled(system), PATIENCE_S, "the photos are searchable")

    encoders: list[str] = []
    problems: list[str] = []
    finished = False

    def search_without_pause() -> None:
        number = 0
        while not finished:
            number += 1
            answer = client.get(
                "/api/v1/search/", q=f"shape number {number}", weak="true", limit=50
            )
            if answer.status != HTTPStatus.OK or not json.loads(answer.text)["results"]:
                problems.append(f"{answer.status}: {answer.text[:200]}")
                continue
            encoders.append(answer.data["encoder"])

    def come_and_go() -> None:
        number = 0
        while not finished:
            number += 1
            added = int(client.upload(f"more-{number}.jpg", draw(9500 + number)).data["id"])
            if number % 2:
                client.request("DELETE", f"/api/v1/photos/{added}/")
            else:
                ids.append(added)
            time.sleep(0.3)

    with ThreadPoolExecutor(3) as people:
        at_work = [people.submit(search_without_pause) for _ in range(2)]
        at_work.append(people.submit(come_and_go))
        try:
            built = system.manage("build_index", "--encoder", str(tiny_clip), "--activate")
            assert built.returncode == 0, built.stderr
            switched_at = len(encoders)
            time.sleep(3)
        finally:
            finished = True
        for work in at_work:
            work.result()
    assert problems == []
    # Two searches may have been under way when it was switched.
    assert set(encoders[switched_at + 2 :]) == {str(tiny_clip)}
    assert set(encoders) == {"starter", str(tiny_clip)}
    order = [encoder == str(tiny_clip) for encoder in encoders]
    assert sum(earlier > later for earlier, later in itertools.pairwise(order)) <= 1
    check_index(system, client, set(ids))
    assert system.manage("activate_index", "--roll-back").returncode == 0
    check_index(system, client, set(ids))

"""Whose work is claimed next: pure rows, no pictures, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from gallery.models import Photo
from gallery.processing import _waiting
from search.models import PhotoIndexing, SearchIndex
from t2isearch import leases
from t2isearch.leases import Priority, claim

_numbers = count(1)


@pytest.fixture(autouse=True)
def _new_process() -> None:
    leases._rounds.clear()


def person(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.com", "correct horse battery")


def photos(owner: User, number: int = 1, **fields: Any) -> list[Photo]:
    """Photos of `owner` that wait for being rendered."""
    return Photo.objects.bulk_create(
        [
            Photo(
                **{"owner": owner, "sha256": f"{next(_numbers):064}", "filename": owner.username}
                | {"size_bytes": 1, "width": 4, "height": 3}
                | fields
            )
            for _ in range(number)
        ]
    )


def waiting_rows(index: SearchIndex, owner: User, number: int, **fields: Any) -> None:
    PhotoIndexing.objects.bulk_create(
        [
            PhotoIndexing(photo=photo, index=index, owner_id=owner.pk, **fields)
            for photo in photos(owner, number, state="ready", thumbnail="t", preview="p")
        ]
    )


def owners(claims: int) -> str:
    """Whose photo each of some claims got: the first letters of their names."""
    return "".join(photo.filename[0] for _ in range(claims) for photo in claim(_waiting(), limit=1))


@pytest.fixture
def an_index(db: None) -> SearchIndex:
    return SearchIndex.objects.create(
        encoder="none", revision="1", dimension=4, collection_name="none", status="active"
    )


@pytest.mark.django_db
def test_one_photo_is_next_whatever_the_backlog_of_others() -> None:
    photos(person("ann"), 500)
    assert owners(3) == "aaa"
    photos(person("ben"))
    assert owners(3) == "baa"
    photos(person("cid"), 20)
    photos(person("dan"), 2)
    assert sorted(owners(3)) == list("acd")
    assert sorted(owners(3)) == list("acd")
    assert sorted(owners(4)) == list("aacc")


@pytest.mark.django_db
def test_what_a_person_waits_for_comes_before_imports_and_these_before_the_rest() -> None:
    ann, ben, cid = person("ann"), person("ben"), person("cid")
    photos(ann, 3, priority=Priority.BACKGROUND)
    photos(ben, 3, priority=Priority.IMPORT)
    assert owners(1) == "b"
    photos(cid, 2)
    photos(ann)
    assert sorted(owners(3)) == list("acc")
    assert owners(5) == "bbaaa"


@pytest.mark.django_db
def test_of_one_person_the_oldest_comes_first() -> None:
    first, second = photos(person("ann"), 2)
    Photo.objects.filter(pk=first.pk).update(due_at=timezone.now() - timedelta(seconds=1))
    Photo.objects.filter(pk=second.pk).update(due_at=timezone.now() - timedelta(seconds=9))
    assert [photo.pk for _ in range(2) for photo in claim(_waiting(), limit=1)] == [
        second.pk,
        first.pk,
    ]


@pytest.mark.django_db
def test_retries_come_after_everybodys_first_tries_and_alone() -> None:
    photos(person("ann"), 3, attempts=1)
    photos(person("ben"), 2, priority=Priority.BACKGROUND)
    photos(person("cid"), 1, attempts=2)
    assert [len(claim(_waiting(), limit=9)) for _ in range(6)] == [2, 1, 1, 1, 1, 0]
    assert list(Photo.objects.order_by("due_at", "pk").values_list("filename", "attempts")) == [
        ("ben", 1)
    ] * 2 + [("ann", 2)] * 3 + [("cid", 3)]


@pytest.mark.django_db
def test_retries_wait_in_turns_and_not_for_ever() -> None:
    photos(person("ann"), 500)
    photos(person("ben"), 1, attempts=1)
    photos(person("cid"), 1, attempts=3)
    served = owners(2 * leases.RETRY_EVERY)
    assert (served.count("b"), served.count("c")) == (1, 1)


@pytest.mark.django_db
def test_work_that_ends_its_worker_does_not_come_first_again() -> None:
    """Each worker is a new one, as its process ended while it had the photo of ann."""
    ann, ben = person("ann"), person("ben")
    photos(ann, 9)
    photos(ben, 1)
    served = ""
    for _ in range(2):
        leases._rounds.clear()
        served += owners(1)
    assert served == "ab"


@pytest.mark.django_db
def test_a_batch_is_of_all_who_wait(an_index: SearchIndex) -> None:
    names = ["ann", "ben", "cid", "dan"]
    people = dict(zip(names, (person(name) for name in names), strict=True))
    waiting_rows(an_index, people["ann"], 100)
    waiting_rows(an_index, people["ben"], 2)
    waiting_rows(an_index, people["cid"], 30)
    waiting_rows(an_index, people["dan"], 40, priority=Priority.BACKGROUND)

    def batch() -> list[int]:
        owned = [
            row.owner_id for row in claim(PhotoIndexing.objects.filter(index=an_index), limit=8)
        ]
        return [owned.count(each.pk) for each in people.values()]

    assert batch() == [3, 2, 3, 0]
    assert batch() == [4, 0, 4, 0]
    # With fewer places than people, those come next who were not in the batch before.
    waiting_rows(an_index, people["ben"], 2)
    rows = PhotoIndexing.objects.filter(index=an_index)
    two = {row.owner_id for row in claim(rows, limit=2)}
    assert len(two) == 2
    assert two | {row.owner_id for row in claim(rows, limit=2)} == {
        people[name].pk for name in ("ann", "ben", "cid")
    }


@pytest.mark.django_db
def test_an_upload_overtakes_what_is_made_anew(an_index: SearchIndex) -> None:
    ann, ben = person("ann"), person("ben")
    waiting_rows(an_index, ann, 500, priority=Priority.BACKGROUND)
    rows = PhotoIndexing.objects.filter(index=an_index)
    assert len(claim(rows, limit=32)) == 32
    waiting_rows(an_index, ben, 1)
    # Not in the midst of others: a small batch is soon done.
    assert [row.owner_id for row in claim(rows, limit=32)] == [ben.pk]


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 10])
def test_the_cost_does_not_grow_with_what_waits(an_index: SearchIndex, limit: int) -> None:
    """Whoever has thousands waiting is passed over in the index, not row by row."""
    waiting_rows(an_index, person("ann"), 3000)
    for name in ("ben", "cid", "dan"):
        waiting_rows(an_index, person(name), 1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE search_photoindexing")
    plans: list[dict[str, Any]] = []

    def explain(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if sql.lstrip().startswith(("SELECT", "WITH")):
            with connection.cursor() as cursor:
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                plans.append(cursor.cursor.fetchone()[0][0]["Plan"])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        claimed = claim(PhotoIndexing.objects.filter(index=an_index, state="pending"), limit=limit)
    assert len(claimed) == limit
    assert plans
    for plan in plans:
        for node in _nodes(plan):
            read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            assert read <= 5 * limit, node


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)


# With two connections, as two workers have them


@pytest.fixture
def other_worker(transactional_db: None) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread
        thread.submit(lambda: connection.close()).result()


def test_what_another_transaction_holds_is_passed_over(other_worker: ThreadPoolExecutor) -> None:
    (anns,) = photos(person("ann"))
    (bens,) = photos(person("ben"), priority=Priority.BACKGROUND)
    with transaction.atomic():
        Photo.objects.select_for_update().get(pk=anns.pk)
        claimed = other_worker.submit(claim, _waiting(), limit=1).result(10)
        assert [photo.pk for photo in claimed] == [bens.pk]
        assert other_worker.submit(claim, _waiting(), limit=1).result(10) == []
    assert [photo.pk for photo in claim(_waiting(), limit=1)] == [anns.pk]


def test_two_workers_never_share_a_row(other_worker: ThreadPoolExecutor) -> None:
    for name in ("ann", "ben", "cid"):
        photos(person(name), 20)

    def work() -> list[int]:
        keys = []
        while claimed := claim(_waiting(), limit=2):
            keys += [photo.pk for photo in claimed]
        return keys

    theirs = other_worker.submit(work)
    both = work() + theirs.result(30)
    assert len(set(both)) == len(both) == 60

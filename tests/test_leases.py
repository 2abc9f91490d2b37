"""Claiming work, with two connections as two workers have them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from gallery.models import DiscardedFile
from t2isearch.leases import backoff, claim, exhausted

pytestmark = pytest.mark.django_db(transaction=True)
Result = TypeVar("Result")


def rows(*attempts: int) -> list[DiscardedFile]:
    return [
        DiscardedFile.objects.create(name=f"{number}", attempts=tried)
        for number, tried in enumerate(attempts)
    ]


@pytest.fixture
def other_worker() -> Iterator[ThreadPoolExecutor]:
    """A thread with a database connection of its own."""
    with ThreadPoolExecutor(1) as thread:
        yield thread
        thread.submit(lambda: connection.close()).result()


def test_what_another_connection_holds_is_passed_over(other_worker: ThreadPoolExecutor) -> None:
    first, second, third = rows(0, 0, 0)
    with transaction.atomic():
        DiscardedFile.objects.select_for_update().get(pk=second.pk)
        claimed = other_worker.submit(claim, DiscardedFile.objects.all(), limit=9).result(10)
    assert {row.pk for row in claimed} == {first.pk, third.pk}
    # Those are leased now, the other one is still due.
    assert [row.pk for row in claim(DiscardedFile.objects.all(), limit=9)] == [second.pk]


def test_two_workers_share_out_the_work(other_worker: ThreadPoolExecutor) -> None:
    rows(*[0] * 20)
    mine: list[int] = []
    theirs = other_worker.submit(
        lambda: [row.pk for _ in range(10) for row in claim(DiscardedFile.objects.all(), limit=1)]
    )
    for _ in range(10):
        mine += [row.pk for row in claim(DiscardedFile.objects.all(), limit=1)]
    assert len({*mine, *theirs.result(20)}) == len(mine) + len(theirs.result()) == 20


def test_a_lease_counts_an_attempt_and_ends(settings: Settings) -> None:
    rows(0)
    before = timezone.now()
    (row,) = claim(DiscardedFile.objects.all(), limit=1)
    stored = DiscardedFile.objects.get()
    assert (row.attempts, row.due_at) == (stored.attempts, stored.due_at)
    assert row.attempts == 1
    assert row.due_at - before >= settings.WORK_LEASE
    assert claim(DiscardedFile.objects.all(), limit=1) == []
    DiscardedFile.objects.update(due_at=timezone.now())  # the lease has ended
    assert claim(DiscardedFile.objects.all(), limit=1)[0].attempts == 2


@pytest.mark.parametrize(
    ("attempts", "limit", "claimed"),
    [
        ((0, 0, 0), 2, [0, 1]),
        ((2, 0, 1, 0), 9, [1, 3]),  # what was never tried comes first, without the rest
        ((2, 1, 1), 9, [1]),  # what was tried before is tried alone
        ((), 9, []),
    ],
)
def test_what_is_claimed_together(
    attempts: tuple[int, ...], limit: int, claimed: list[int]
) -> None:
    rows(*attempts)
    found = claim(DiscardedFile.objects.all(), limit=limit)
    assert [int(row.name) for row in found] == claimed


def test_the_pause_grows_and_has_an_end(settings: Settings) -> None:
    settings.WORK_BACKOFF = timedelta(seconds=4)
    for attempts, ceiling in ((0, 4), (1, 4), (2, 8), (3, 16), (50, 600)):
        pauses = {backoff(attempts).total_seconds() for _ in range(50)}
        assert ceiling / 2 <= min(pauses) < max(pauses) <= ceiling


def test_attempts_run_out(settings: Settings) -> None:
    most = settings.WORK_MAX_ATTEMPTS
    assert [exhausted(DiscardedFile(attempts=n)) for n in (0, most - 1, most)] == [
        False,
        False,
        True,
    ]

"""Work that lives in a database row: claimed for a while, tried a bounded number of times.

A row is due when its state says so and `due_at` has passed. Claiming moves `due_at` to the end of
the lease in the same statement that locks the row (`FOR UPDATE SKIP LOCKED`), so two workers never
hold one piece of work, and a worker that is killed gives its work back by itself when the lease
ends. See docs/decisions/0001-work-lives-in-postgres.md.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from t2isearch.saving import StaysDeleted

Row = TypeVar("Row", bound="Leased")


class Leased(StaysDeleted):
    """A row that is a piece of work."""

    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    due_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True


def claim(queryset: models.QuerySet[Row], *, limit: int) -> list[Row]:
    """Lease up to `limit` due rows of `queryset`, those tried least often first.

    A row that was tried before is leased alone: whatever made the last try fail, even by killing
    the worker, can then only harm that row.
    """
    now = timezone.now()
    with transaction.atomic():
        rows = list(
            queryset.filter(due_at__lte=now)
            .order_by("attempts", "due_at", "pk")
            .select_for_update(skip_locked=True, of=("self",))[:limit]
        )
        if rows and rows[0].attempts > 0:
            rows = rows[:1]
        rows = [row for row in rows if row.attempts == rows[0].attempts]
        queryset.model._base_manager.filter(pk__in=[row.pk for row in rows]).update(
            attempts=F("attempts") + 1, due_at=now + settings.WORK_LEASE
        )
    for row in rows:
        row.attempts += 1
        row.due_at = now + settings.WORK_LEASE
    return rows


def backoff(attempts: int) -> timedelta:
    """The pause after the `attempts`-th try: doubled each time, capped, with full jitter.

    Jitter keeps rows that failed together from coming back together ("Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    doublings = min(max(0, attempts - 1), 10)
    ceiling: timedelta = min(settings.WORK_BACKOFF * 2**doublings, timedelta(minutes=10))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets


def exhausted(row: Leased) -> bool:
    """Whether the row has been tried as often as it may be."""
    return row.attempts >= settings.WORK_MAX_ATTEMPTS

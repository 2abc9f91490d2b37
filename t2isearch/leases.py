"""Work that lives in a database row: claimed for a while, tried a bounded number of times.

A row is due when its state says so and `due_at` has passed. Claiming moves `due_at` to the end of
the lease in the transaction that locks the row (`FOR UPDATE SKIP LOCKED`), so two workers never
hold one piece of work, and a worker that is killed gives its work back by itself when the lease
ends. See docs/decisions/0001-work-lives-in-postgres.md.

Work of people (`InTurns`) is claimed by turns: one owner after the other, whatever the backlog of
each, and those who wait for it before what nobody waits for. See
docs/decisions/0030-work-goes-round-by-owner.md.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from typing import Any, TypeVar, cast

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import F
from django.db.models.expressions import RawSQL
from django.utils import timezone

from t2isearch.saving import StaysDeleted

Row = TypeVar("Row", bound="Leased")

# How often a claim looks for what was tried before: it comes last, but not never.
RETRY_EVERY = 10
MOST_REMEMBERED = 10_000


class Leased(StaysDeleted):
    """A row that is a piece of work."""

    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    due_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True


class Priority(models.IntegerChoices):
    """Whose work comes first."""

    PERSON = 0, "somebody waits for it"
    IMPORT = 1, "an import"
    BACKGROUND = 2, "made anew, while there is something to go on with"


class InTurns(Leased):
    """A piece of somebody's work; models have an `owner_id`.

    They need an index over `attempts`, `priority`, `owner_id`, `due_at` and the primary key.
    """

    # The database's own default is for processes of the version before, while both run.
    priority = models.SmallIntegerField(
        choices=Priority, default=Priority.PERSON, db_default=Priority.PERSON, editable=False
    )

    class Meta:
        abstract = True


Lane = tuple[int, int]
"""A number of attempts and a priority: what is claimed together, and in this order."""


@dataclass(slots=True)
class _Round:
    """How far this process is: the claims it made, and the owner served last in each lane."""

    claims: int = 0
    served: dict[Lane, int] = field(default_factory=dict)


# As the index has it.
_ORDER = ("attempts", "priority", "owner_id", "due_at", "pk")

_rounds: defaultdict[type[Leased], _Round] = defaultdict(_Round)


def claim(queryset: models.QuerySet[Row], *, limit: int) -> list[Row]:
    """Lease up to `limit` due rows of `queryset`, those tried least often first.

    A row that was tried before is leased alone: whatever made the last try fail, even by killing
    the worker, can then only harm that row. Rows that are `InTurns` are of one priority and of as
    many owners as wait.
    """
    now = timezone.now()
    with transaction.atomic():
        if issubclass(queryset.model, InTurns):
            rows = _in_turns(cast("models.QuerySet[Any]", queryset), now=now, limit=limit)
        else:
            due = queryset.filter(due_at__lte=now)
            rows = _locked(due.order_by("attempts", "due_at", "pk")[:limit])
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


def give_back(rows: Sequence[Leased], *, after: timedelta) -> None:
    """End the lease of rows of one model that were tried for nothing; the try does not count.

    Only of what is still leased as claimed: another worker, or whoever had it done anew, goes on.
    """
    if rows:
        leased = type(rows[0])._base_manager.filter(
            pk__in=[row.pk for row in rows], due_at__in={row.due_at for row in rows}, attempts__gt=0
        )
        leased.update(attempts=F("attempts") - 1, due_at=timezone.now() + after)


class Outages:
    """How long rows of one model wait for what they need and do not get, such as the storage.

    Longer with each time in a row, as this process remembers it: that is no row's fault, so none
    keeps a count of it.
    """

    def __init__(self) -> None:
        self._times: dict[Any, int] = {}

    def put_off(self, row: Leased) -> None:
        """Give `row` back for a while."""
        if len(self._times) > MOST_REMEMBERED:  # of many nobody asks again: deleted, done elsewhere
            self._times.clear()
        self._times[row.pk] = self._times.get(row.pk, 0) + 1
        give_back([row], after=backoff(self._times[row.pk]))

    def over(self, row: Leased) -> None:
        """`row` has got what it needed."""
        self._times.pop(row.pk, None)


def _locked(rows: models.QuerySet[Row]) -> list[Row]:
    """Those of `rows` that no other transaction holds."""
    return list(rows.select_for_update(skip_locked=True, of=("self",)))


def _in_turns(queryset: models.QuerySet[Any], *, now: datetime, limit: int) -> list[Any]:
    """Lock up to `limit` rows of one lane, beginning with the owner behind the one served last."""
    due = queryset.filter(due_at__lte=now)
    round_ = _rounds[queryset.model]
    lane = _next_lane(due, round_)
    if lane is None:
        return []
    if lane not in round_.served:
        round_.served[lane] = _served_before(queryset, now)
    attempts, priority = lane
    waiting = due.filter(attempts=attempts, priority=priority)
    chosen = _keys_by_turns(waiting, after=round_.served[lane], limit=1 if attempts else limit)
    if chosen:
        round_.served[lane] = chosen[-1][0]
    # They were chosen without a lock: what was claimed meanwhile drops out.
    keys = [key for _owner, key in chosen]
    locked = {row.pk: row for row in _locked(waiting.filter(pk__in=keys))}
    if locked:
        return [locked[key] for key in keys if key in locked]
    # Others were faster, or hold it for longer: whatever nobody holds.
    rows = _locked(due.order_by(*_ORDER)[:limit])
    return [row for row in rows if row.priority == rows[0].priority]


def _next_lane(due: models.QuerySet[Any], round_: _Round) -> Lane | None:
    """The first one that has something; now and then the one of the retry that waits longest."""
    lanes = due.values_list("attempts", "priority")
    round_.claims += 1
    if round_.claims % RETRY_EVERY == 0:
        retry: Lane | None = lanes.filter(attempts__gt=0).order_by("due_at").first()
        if retry is not None:
            return retry
    first: Lane | None = lanes.order_by(*_ORDER).first()
    return first


def _served_before(queryset: models.QuerySet[Any], now: datetime) -> int:
    """The owner whom another process served last, as far as a lease tells; 0 when none does.

    A process that has just started goes on behind it. Otherwise work that ends its worker would
    come first each time, if its owner has the lowest key.
    """
    leased = queryset.filter(attempts__gt=0, due_at__gt=now).order_by("-due_at")
    served: int | None = leased.values_list("owner_id", flat=True).first()
    return served or 0


def _keys_by_turns(rows: models.QuerySet[Any], *, after: int, limit: int) -> list[tuple[int, int]]:
    """Up to `limit` owners and keys: one of each owner, then a second one of each, and so on.

    Those behind the owner `after` come first. Goes from owner to owner in the index (a "loose index
    scan"), so that the cost does not grow with what each has waiting.
    """
    turns: dict[int, list[tuple[int, int]]] = {}
    for part in (rows.filter(owner_id__gt=after), rows.filter(owner_id__lte=after)):
        if len(turns) == limit:
            break
        this = RawSQL("turn.owner_id", ())
        (first, first_values), (following, following_values), (own, own_values) = (
            query.query.get_compiler(query.db).as_sql()
            for query in (
                part.order_by("owner_id").values("owner_id")[:1],
                part.filter(owner_id__gt=this).order_by("owner_id").values("owner_id")[:1],
                part.filter(owner_id=this).order_by("due_at", "id").values("due_at", "id")[:limit],
            )
        )
        with connections[rows.db].cursor() as cursor:
            cursor.execute(
                f"""
                WITH RECURSIVE turn AS (
                    ({first})
                    UNION ALL
                    SELECT following.owner_id FROM turn CROSS JOIN LATERAL ({following}) following
                )
                SELECT turn.owner_id, own.id
                FROM (SELECT owner_id FROM turn LIMIT %s) turn CROSS JOIN LATERAL ({own}) own
                ORDER BY turn.owner_id, own.due_at, own.id
                """,  # noqa: S608 - compiled by Django, the values apart
                [*first_values, *following_values, limit - len(turns), *own_values],
            )
            for owner_id, key in cursor.fetchall():
                turns.setdefault(owner_id, []).append((owner_id, key))
    dealt = (each for turn in zip_longest(*turns.values()) for each in turn if each is not None)
    return list(islice(dealt, limit))


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

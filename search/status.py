"""What the console shows: how far the generations are, what works, what waits, what was done.

Whatever is asked of another service is contained: a Milvus or broker that is away is a fact to
show. What is expensive to count is remembered for a while, so that many open consoles cost little.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    F,
    Min,
    QuerySet,
    When,
)
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from gallery.models import Photo
from search import milvus
from search.encoders import needs_download
from search.generations import DAMAGED, Progress, progress
from search.heartbeat import PATIENCE
from search.milvus import MilvusUnavailable
from search.models import (
    IndexRun,
    LoadedTower,
    PendingDeletion,
    PhotoIndexing,
    SearchIndex,
    WorkerHeartbeat,
)
from search.reindexing import FAILED
from search.runs import STEPS
from search.verification import FAULTS, MISSING
from t2isearch.cache import derived
from t2isearch.celery import ping_broker

logger = logging.getLogger(__name__)

# Remembered for everybody who looks, so it is translated where it is shown.
COLLECTION_GONE = gettext_noop("The collection of the active generation is gone: it is made anew.")

MOST_FAILURES = 10
MOST_RUNS = 20

FRESH_S = 2.0
# What takes longer to find out is asked less often: ten times as long as it took, but at least so
# often.
STALE_S = 60.0

Fact = TypeVar("Fact")


def _remembered(key: str, find: Callable[[], Fact], *, longest_s: float = STALE_S) -> Fact:
    """What `find` returns, now or within the last seconds in any process that shares the cache."""
    key = f"search.status.{key}"
    known: Fact | None = derived.get(key)
    if known is not None:
        return known
    started = time.monotonic()
    found = find()
    took_s = time.monotonic() - started
    derived.set(key, found, min(max(FRESH_S, 10 * took_s), longest_s))
    return found


@dataclass(frozen=True, slots=True)
class Failure:
    """Why photos can't be made searchable (not translated), and how many."""

    reason: str
    photos: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation and how far it is.

    `obstacle` says what keeps a build from going on, if anything does. `fetches_model` is true
    while a build has not begun and its model is not on this machine.
    """

    index: SearchIndex
    progress: Progress
    failures: tuple[Failure, ...]
    obstacle: str
    fetches_model: bool

    @property
    def is_building(self) -> bool:
        return self.index.status == SearchIndex.Status.BUILDING

    @property
    def is_paused(self) -> bool:
        return self.index.paused_at is not None

    @property
    def is_complete(self) -> bool:
        return not self.progress.remaining

    @property
    def percent(self) -> int:
        """Rounded down: what is not complete is never 100."""
        return int(self.progress.share * 100)

    @property
    def reasons_are_cut(self) -> bool:
        return sum(failure.photos for failure in self.failures) < self.progress.failed


def generations() -> list[Generation]:
    """Those that are kept: the active one first, then a building one, then what was retired."""
    by_status = [SearchIndex.Status.ACTIVE, SearchIndex.Status.BUILDING]
    kept = sorted(
        SearchIndex.objects.kept().order_by("-pk"),
        key=lambda index: (
            by_status.index(SearchIndex.Status(index.status))
            if index.status in by_status
            else len(by_status)
        ),
    )
    return [_generation(index) for index in kept]


def _generation(index: SearchIndex) -> Generation:
    def count() -> tuple[Progress, tuple[Failure, ...]]:
        return progress(index), _failures(index)

    # A generation that changes its status is counted anew.
    counted, failures = _remembered(f"generation.{index.pk}.{index.status}", count)
    building = index.status == SearchIndex.Status.BUILDING
    run = index.runs.filter(kind=IndexRun.Kind.BUILD, state=IndexRun.State.RUNNING).first()
    return Generation(
        index=index,
        progress=counted,
        failures=failures,
        obstacle=run.error if run is not None and building else "",
        fetches_model=building
        and not counted.searchable
        and _remembered(f"model.{index.pk}", lambda: _needs_download(index)),
    )


def _needs_download(index: SearchIndex) -> bool:
    try:
        return needs_download(index.encoder_info)
    except Exception:
        logger.exception("whether the model of generation %s is here can't be told", index.pk)
        return False


def _failures(index: SearchIndex) -> tuple[Failure, ...]:
    failed = index.indexings.filter(
        state=PhotoIndexing.State.FAILED, photo__state=Photo.State.READY
    )
    rows = failed.values_list("error").annotate(photos=Count("pk")).order_by("-photos", "error")
    return tuple(Failure(error, photos) for error, photos in rows[:MOST_FAILURES])


@dataclass(frozen=True, slots=True)
class MilvusState:
    """`vectors`: how many the active collection holds; None when that can't be told.

    `problem` is not translated.
    """

    version: str = ""
    vectors: int | None = None
    problem: str = ""


def milvus_state() -> MilvusState:
    """Waits for a Milvus that does not answer for MILVUS_SEARCH_TIMEOUT_S, a few times a minute."""
    index = SearchIndex.objects.active()
    key = f"milvus.{index.pk if index else None}"
    return _remembered(key, lambda: _ask_milvus(index), longest_s=10)


def _ask_milvus(index: SearchIndex | None) -> MilvusState:
    version = ""
    try:
        version = milvus.ping()
        if index is None:
            return MilvusState(version)
        vectors = milvus.count(index.collection_name, timeout_s=settings.MILVUS_SEARCH_TIMEOUT_S)
    except milvus.CollectionMissing:
        return MilvusState(version, problem=COLLECTION_GONE)
    except MilvusUnavailable as error:
        return MilvusState(version, problem=str(error))
    except Exception as error:
        logger.exception("Milvus can't be asked")
        return MilvusState(version, problem=f"{type(error).__name__}: {error}")
    return MilvusState(version, vectors)


@dataclass(frozen=True, slots=True)
class BrokerState:
    """`problem` is empty while the broker can be reached."""

    problem: str = ""


def broker_state() -> BrokerState:
    return _remembered("broker", _ask_broker, longest_s=10)


def _ask_broker() -> BrokerState:
    try:
        ping_broker()
    except Exception as error:
        logger.warning("the broker can't be reached: %r", error)
        return BrokerState(str(error) or type(error).__name__)
    return BrokerState()


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    queues: tuple[str, ...]
    seen_at: datetime
    lives: bool


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of the last day, and the queues that no living one serves."""

    workers: tuple[Worker, ...]
    unserved: tuple[str, ...]


def workers() -> Workers:
    since = timezone.now() - PATIENCE
    seen = tuple(
        Worker(beat.name, tuple(beat.queues.split(",")), beat.seen_at, beat.seen_at >= since)
        for beat in WorkerHeartbeat.objects.order_by("name")
    )
    served = {queue for worker in seen if worker.lives for queue in worker.queues}
    queues = (queue.name for queue in settings.CELERY_TASK_QUEUES)
    return Workers(seen, tuple(queue for queue in queues if queue not in served))


def loaded_towers() -> list[LoadedTower]:
    """What each process runs its towers on, of the generations that are kept."""
    kept = SearchIndex.objects.kept().values("encoder")
    return list(LoadedTower.objects.filter(encoder__in=kept))


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for the workers, and since when the oldest of it does."""

    number: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class WorkWaiting:
    """`to_index` counts photos that can't be found yet, or not as they are now."""

    to_render: Waiting
    to_index: Waiting
    deletions: Waiting


def work_waiting() -> WorkWaiting:
    return _remembered("waiting", _count_waiting)


def _count_waiting() -> WorkWaiting:
    to_render = Photo.objects.filter(state=Photo.State.PROCESSING)
    to_index = PhotoIndexing.objects.filter(
        index__status=SearchIndex.Status.ACTIVE, state=PhotoIndexing.State.PENDING
    )
    # `due_at` is when it was asked for, until the first try moves it.
    asked_for = When(attempts=0, then=F("due_at"))
    return WorkWaiting(
        to_render=_waiting(to_render, Case(asked_for, default=F("created_at"))),
        to_index=_waiting(
            to_index,
            Case(
                asked_for,
                When(
                    indexed_at=None, then=Greatest(F("photo__created_at"), F("index__created_at"))
                ),
                default=F("due_at"),
                output_field=DateTimeField(),
            ),
        ),
        deletions=_waiting(PendingDeletion.objects.all(), F("created_at")),
    )


def _waiting(rows: QuerySet[Any], since: Case | F) -> Waiting:
    found = rows.aggregate(number=Count("pk"), since=Min(since))
    return Waiting(found["number"], found["since"])


@dataclass(frozen=True, slots=True)
class Run:
    """One run in words. `scope` says what it is limited to, `found` what it did so far."""

    run: IndexRun
    scope: str
    found: str
    took: timedelta
    may_be_interrupted: bool
    may_go_on: bool


def last_runs() -> list[Run]:
    rows = IndexRun.objects.select_related("index", "owner", "started_by").order_by("-pk")
    return [_run(run) for run in rows[:MOST_RUNS]]


def _run(run: IndexRun) -> Run:
    workable = run.kind in STEPS
    stopped = run.state in {IndexRun.State.INTERRUPTED, IndexRun.State.FAILED}
    there = run.index.dropped_at is None or run.kind == IndexRun.Kind.DROP
    return Run(
        run=run,
        scope=scope_in_words(run),
        found=findings_in_words(run),
        took=(run.finished_at or timezone.now()) - run.created_at,
        may_be_interrupted=workable and run.state == IndexRun.State.RUNNING,
        may_go_on=workable and stopped and there,
    )


def scope_in_words(run: IndexRun) -> str:
    """What a run is limited to and does beside looking; empty for everything."""
    parts = []
    if run.kind == IndexRun.Kind.VERIFY and run.options.get("repair"):
        only_missing = run.options.get("only") == [MISSING]
        parts.append(_("repairs what is missing") if only_missing else _("repairs"))
    if run.kind == IndexRun.Kind.REINDEX and run.options.get("scope") == FAILED:
        parts.append(_("what failed"))
    if run.owner is not None:
        parts.append(_("of %(name)s") % {"name": run.owner})
    return ", ".join(parts)


def findings_in_words(run: IndexRun) -> str:
    """What came of a run, in a line: the kinds of run count different things."""
    found = run.findings
    if not found:
        return ""
    if run.kind == IndexRun.Kind.VERIFY:
        return _verification_in_words(found)
    counted = {
        "searchable": _("%(number)s searchable"),
        "failed": _("%(number)s failed"),
        "put back": _("%(number)s put back"),
        "to be embedded": _("%(number)s to be embedded again"),
        "enqueued": _("%(number)s enqueued"),
        "rows": _("%(number)s removed"),
    }
    seldom = {"failed", "to be embedded"}
    parts = [_("Milvus could not use the collection")] if DAMAGED in found else []
    parts += [
        words % {"number": f"{found[name]:,}"}
        for name, words in counted.items()
        if name in found and (found[name] or name not in seldom)
    ]
    return ", ".join(parts)


def _verification_in_words(found: dict[str, Any]) -> str:
    photos = found.get("photos", 0)
    compared = ngettext("%(number)s photo compared", "%(number)s photos compared", photos) % {
        "number": f"{photos:,}"
    }
    faults = [
        f"{found[kind]:,} {_(kind)}{_samples(found, kind)}" for kind in FAULTS if found.get(kind)
    ]
    if not faults:
        return _("%(compared)s, no fault") % {"compared": compared}
    parts = [compared, *faults]
    if found.get("repaired"):
        parts.append(_("%(number)s repaired") % {"number": f"{found['repaired']:,}"})
    return ", ".join(parts)


def _samples(found: dict[str, Any], kind: str) -> str:
    ids = found.get("samples", {}).get(kind, [])
    if not ids:
        return ""
    listed = ", ".join(map(str, ids))
    if found[kind] > len(ids):
        listed += ", …"
    return ngettext(" (photo %(ids)s)", " (photos %(ids)s)", found[kind]) % {"ids": listed}

"""Runs over a whole index: worked on in turns, by workers or by a command, and remembered.

What a kind of run does is a step: it takes the run on from `run.position` by some thousand photos
and says whether that was the last of it. A run that is interrupted goes on from there.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext_noop

from accounts.models import User
from search.milvus import CollectionDamaged, MilvusUnavailable
from search.models import IndexRun, SearchIndex
from t2isearch.leases import backoff, claim, exhausted
from t2isearch.redaction import redacted

logger = logging.getLogger(__name__)

# Each takes a run on by one step and returns whether it is finished.
Step = Callable[[IndexRun], bool]
STEPS = {
    IndexRun.Kind.DROP: "search.dropping.drop_step",
    IndexRun.Kind.REINDEX: "search.reindexing.reindex_step",
    IndexRun.Kind.VERIFY: "search.verification.verify_step",
    IndexRun.Kind.REFILL: "search.refill.refill_step",
}
KEEP_FINISHED = timedelta(days=90)


class AlreadyWorkedOn(Exception):
    """A worker is at this run."""


def record_run(
    index: SearchIndex,
    kind: IndexRun.Kind,
    *,
    by: User | None = None,
    state: IndexRun.State = IndexRun.State.RUNNING,
    findings: dict[str, Any] | None = None,
) -> IndexRun:
    """Write down something that is done elsewhere: a build, or what is done already."""
    return IndexRun.objects.create(
        index=index,
        kind=kind,
        started_by=by,
        state=state,
        findings=findings or {},
        finished_at=None if state == IndexRun.State.RUNNING else timezone.now(),
    )


def start_run(
    index: SearchIndex,
    kind: IndexRun.Kind,
    *,
    by: User | None = None,
    owner: User | None = None,
    options: dict[str, Any] | None = None,
    here: bool = False,
) -> IndexRun:
    """Have workers do it, from where an interrupted run of the same kind and scope stopped.

    With `here`, it is claimed for this process, which has to call `work_on`.

    Raises:
        AlreadyWorkedOn: with `here`, when a worker is at it.
    """
    from search.tasks import work_on_runs
    from t2isearch.dispatch import wake

    options = options or {}
    with transaction.atomic():
        run = _unfinished(index, kind).filter(owner=owner, options=options).first()
        if run is None:
            run = IndexRun.objects.create(
                index=index, kind=kind, started_by=by, owner=owner, options=options
            )
        elif run.state == IndexRun.State.INTERRUPTED:
            run.state, run.due_at, run.attempts = IndexRun.State.RUNNING, timezone.now(), 0
            run.finished_at, run.error, run.traceback = None, "", ""
            run.save()
        if not here:
            wake(work_on_runs)
            return run
        claimed = claim(_claimable().filter(pk=run.pk), limit=1)
    if not claimed:
        raise AlreadyWorkedOn(run)
    return claimed[0]


def _unfinished(index: SearchIndex, kind: IndexRun.Kind) -> QuerySet[IndexRun]:
    return IndexRun.objects.filter(
        index=index,
        kind=kind,
        state__in=[IndexRun.State.RUNNING, IndexRun.State.INTERRUPTED],
    )


def finish_runs(
    index: SearchIndex,
    *,
    kind: IndexRun.Kind,
    state: IndexRun.State,
    error: str = "",
    findings: dict[str, Any] | None = None,
) -> None:
    """Write down the end of the index's running runs of a kind."""
    changes: dict[str, Any] = {"state": state, "finished_at": timezone.now(), "error": error}
    if findings is not None:
        changes["findings"] = findings
    index.runs.filter(kind=kind, state=IndexRun.State.RUNNING).update(**changes)


def interrupt(run: IndexRun) -> bool:
    """Stop a run after its current step; it can go on later. Whether it was running."""
    return bool(
        IndexRun.objects.filter(pk=run.pk, state=IndexRun.State.RUNNING).update(
            state=IndexRun.State.INTERRUPTED, finished_at=timezone.now()
        )
    )


def go_on(run: IndexRun) -> bool:
    """Have workers take an interrupted or failed run up from where it stopped.

    Returns False when it is neither, is nothing that workers do, its generation is dropped, or the
    same is being done by another run.
    """
    from search.tasks import work_on_runs
    from t2isearch.dispatch import wake

    if run.kind not in STEPS:
        return False
    if run.index.dropped_at is not None and run.kind != IndexRun.Kind.DROP:
        return False
    with transaction.atomic():
        # One at a time decides, so that two of a kind never start together.
        SearchIndex.objects.select_for_update().get(pk=run.index_id)
        same = _unfinished(run.index, IndexRun.Kind(run.kind)).filter(
            owner=run.owner, options=run.options, state=IndexRun.State.RUNNING
        )
        stopped = IndexRun.objects.filter(
            pk=run.pk, state__in=[IndexRun.State.INTERRUPTED, IndexRun.State.FAILED]
        )
        if same.exists() or not stopped.update(
            state=IndexRun.State.RUNNING,
            due_at=timezone.now(),
            attempts=0,
            finished_at=None,
            error="",
            traceback="",
        ):
            return False
        wake(work_on_runs)
    return True


def runs_wait() -> bool:
    """Whether a run waits for a worker right now."""
    return _claimable().filter(due_at__lte=timezone.now()).exists()


def _workable() -> QuerySet[IndexRun]:
    return IndexRun.objects.filter(state=IndexRun.State.RUNNING, kind__in=STEPS)


def _claimable() -> QuerySet[IndexRun]:
    return (
        _workable().filter(attempts__lt=settings.WORK_MAX_ATTEMPTS).select_related("index", "owner")
    )


def work_on_due_runs(*, for_seconds: float) -> bool:
    """Take the runs that are due on, one after the other; returns whether there may be more."""
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        runs = claim(_claimable(), limit=1)
        if not runs:
            return False
        work_on(runs[0], until=deadline)
    return True


def work_on(
    run: IndexRun, *, until: float, on_step: Callable[[IndexRun], None] | None = None
) -> None:
    """Take a claimed run on until it is finished, fails, is interrupted, or `until` (monotonic).

    Waiting for Milvus counts for no attempt. Any other error does, and the last one ends the run.
    """
    step: Step = import_string(STEPS[IndexRun.Kind(run.kind)])
    try:
        while True:
            finished = step(run)
            if not _save(run, finished=finished):
                return
            if on_step is not None:
                on_step(run)
            if finished:
                logger.info("%s of the generation %s: %s", run.kind, run.index_id, run.findings)
                return
            if time.monotonic() >= until:
                _release(run)
                return
    except CollectionDamaged as error:
        from search.mending import make_anew

        logger.warning("the run %s (%s) can't use the collection: %s", run.pk, run.kind, error)
        _fail_attempt(run, error, counts=False)
        if run.kind == IndexRun.Kind.REFILL or run.options.get("repair"):
            make_anew(run.index, str(error), by=run.started_by)
    except MilvusUnavailable as error:
        logger.warning("the run %s (%s) waits for Milvus: %s", run.pk, run.kind, error)
        _fail_attempt(run, error, counts=False)
    except Exception as error:
        logger.exception("the run %s (%s) failed at %s", run.pk, run.kind, run.position)
        _fail_attempt(run, error, counts=True)


def _save(run: IndexRun, *, finished: bool) -> bool:
    """Record how far it is, and renew its lease; whether it is still to go on."""
    now = timezone.now()
    changes: dict[str, Any] = {
        "position": run.position,
        "findings": run.findings,
        "attempts": 1,
        "due_at": now + settings.WORK_LEASE,
        "error": "",
        "traceback": "",
    }
    if finished:
        changes |= {"state": IndexRun.State.DONE, "finished_at": now}
    return bool(IndexRun.objects.filter(pk=run.pk, state=IndexRun.State.RUNNING).update(**changes))


def _release(run: IndexRun) -> None:
    IndexRun.objects.filter(pk=run.pk).update(attempts=0, due_at=timezone.now())


def _fail_attempt(run: IndexRun, error: Exception, *, counts: bool) -> None:
    changes: dict[str, Any] = {
        "error": redacted(f"{type(error).__name__}: {error}"),
        "traceback": redacted("".join(traceback.format_exception(error))),
        "due_at": timezone.now() + backoff(run.attempts),
    }
    if not counts:
        changes["attempts"] = 0
    elif exhausted(run):
        changes |= {"state": IndexRun.State.FAILED, "finished_at": timezone.now()}
    IndexRun.objects.filter(pk=run.pk, state=IndexRun.State.RUNNING).update(**changes)


def fail_abandoned_runs() -> int:
    """Fail what has used up its attempts by ending the worker each time; returns how many."""
    return (
        _workable()
        .filter(due_at__lte=timezone.now(), attempts__gte=settings.WORK_MAX_ATTEMPTS)
        .update(
            state=IndexRun.State.FAILED,
            finished_at=timezone.now(),
            error=gettext_noop("The worker ended each time that it was tried."),
        )
    )


def forget_old_runs() -> int:
    """Delete the runs that finished long ago; returns how many."""
    return IndexRun.objects.filter(finished_at__lt=timezone.now() - KEEP_FINISHED).delete()[0]

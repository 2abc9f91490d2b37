"""The search's Celery tasks. Each only wakes a worker: what is to be done lies in the database."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from search import duplicates, images, indexing
from search.models import IndexRun, PendingDeletion, SearchIndex
from t2isearch.dispatch import wake

# A turn is short, so that other tasks of the same worker never wait long.
TURN_SECONDS = 5.0
# Of what may have the worker in common with uploads.
SHORT_TURN_SECONDS = 1.5


@shared_task
def index_photos() -> None:
    """Embed and upsert the photos that wait, for one turn."""
    # Somebody sits before a page and waits for these.
    images.embed_waiting_pictures()
    if indexing.index_due_photos(for_seconds=TURN_SECONDS):
        wake(index_photos)


@shared_task
def embed_pictures() -> None:
    """Embed the pictures that people search with."""
    while images.embed_waiting_pictures():
        pass


@shared_task
def compare_photos() -> None:
    """Take the searches for duplicates on for one turn."""
    if duplicates.work_on_scans(for_seconds=SHORT_TURN_SECONDS):
        wake(compare_photos)


@shared_task
def drain_deletions() -> None:
    """Remove the vectors of deleted photos, for one turn."""
    removed = indexing.drain_deletions(for_seconds=SHORT_TURN_SECONDS)
    if removed and PendingDeletion.objects.filter(due_at__lte=timezone.now()).exists():
        wake(drain_deletions)


@shared_task
def work_on_runs() -> None:
    """Take builds, verifications, refills on for one turn."""
    from search.runs import work_on_due_runs

    if work_on_due_runs(for_seconds=SHORT_TURN_SECONDS):
        wake(work_on_runs)


@shared_task
def sweep() -> None:
    """Find what was left behind by a killed worker, a lost message or an outage."""
    from search.generations import complete_builds
    from search.mending import look_after_collections
    from search.runs import fail_abandoned_runs, runs_wait

    indexing.fail_abandoned()
    complete_builds()
    look_after_collections()
    if indexing.work_waits():
        wake(index_photos)
    if PendingDeletion.objects.exists():
        wake(drain_deletions)
    images.forget_expired_pictures()
    if images.pictures_wait():
        wake(embed_pictures)
    if duplicates.scans_wait():
        wake(compare_photos)
    fail_abandoned_runs()
    if runs_wait():
        wake(work_on_runs)


@shared_task
def verify_nightly() -> None:
    """Compare Milvus with PostgreSQL, mend what differs, and forget old runs."""
    from search.runs import forget_old_runs, start_run

    forget_old_runs()
    if (index := SearchIndex.objects.active()) is not None:
        start_run(index, IndexRun.Kind.VERIFY, options={"repair": True})

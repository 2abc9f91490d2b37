"""The gallery's Celery tasks. Each only wakes a worker: what is to be done lies in the database."""

from __future__ import annotations

from celery import shared_task

from gallery import processing
from t2isearch.dispatch import wake

# A turn is short, so that other tasks of the same worker never wait long.
TURN_SECONDS = 2.0


@shared_task
def render_photos() -> None:
    """Render the photos that wait, for one turn."""
    if processing.process_due_photos(for_seconds=TURN_SECONDS):
        wake(render_photos)


@shared_task
def remove_discarded_files() -> None:
    """Remove the files of deleted photos, for one turn."""
    removed = processing.remove_discarded_files(for_seconds=TURN_SECONDS)
    if removed and processing.discarded_files_wait():
        wake(remove_discarded_files)


@shared_task
def finish_uploads() -> None:
    """Finish complete uploads in pieces that wait, for one turn."""
    from gallery.partial_uploads import finish_due_uploads  # which adds photos, and so wakes a task

    if finish_due_uploads(for_seconds=TURN_SECONDS):
        wake(finish_uploads)


@shared_task
def sweep() -> None:
    """Find what was left behind by a killed worker, a lost message or a passing fault."""
    from gallery.partial_uploads import uploads_wait

    processing.fail_abandoned_photos()
    if processing.photos_wait():
        wake(render_photos)
    if processing.discarded_files_wait():
        wake(remove_discarded_files)
    if uploads_wait():
        wake(finish_uploads)


@shared_task
def remove_expired_uploads() -> None:
    """Remove uploads whose time is up, with their bytes."""
    from gallery.partial_uploads import remove_expired  # which adds photos, and so wakes a task

    remove_expired()


@shared_task
def purge_trash() -> None:
    """Delete what has been in the trash for long enough, for one turn."""
    from gallery.trash import purge_due_photos  # which wakes this task

    if purge_due_photos(for_seconds=TURN_SECONDS):
        wake(purge_trash)

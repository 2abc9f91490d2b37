"""What the search does when the gallery announces something, in the same transaction."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from gallery.signals import photo_deleted, photo_ready, photo_retried, photos_retried
from search.indexing import enqueue, retry_failed
from search.models import PendingDeletion
from search.tasks import drain_deletions, index_photos
from t2isearch.dispatch import wake
from t2isearch.leases import Priority


@receiver(photo_ready, dispatch_uid="search.index_photo")
def index_photo(photo_id: int, **_: Any) -> None:
    enqueue([photo_id])
    wake(index_photos)


@receiver(photo_retried, dispatch_uid="search.index_photo_again")
def index_photo_again(photo_id: int, **_: Any) -> None:
    enqueue([photo_id], priority=Priority.PERSON)
    wake(index_photos)


@receiver(photos_retried, dispatch_uid="search.index_failed_photos")
def index_failed_photos(owner_id: int, **_: Any) -> int:
    if retried := retry_failed(owner_id):
        wake(index_photos)
    return retried


@receiver(photo_deleted, dispatch_uid="search.note_deletion")
def note_deletion(photo_id: int, **_: Any) -> None:
    PendingDeletion.objects.bulk_create([PendingDeletion(photo_id=photo_id)], ignore_conflicts=True)
    wake(drain_deletions)

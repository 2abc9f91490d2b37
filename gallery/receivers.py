"""What happens when a photo is deleted, whichever way: by a page, the API, the admin, a shell."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from gallery.models import Photo
from gallery.services import discard_files
from gallery.signals import announce, photo_deleted


@receiver(pre_delete, sender=Photo, dispatch_uid="gallery.note_files")
def note_files(instance: Photo, **_: Any) -> None:
    """In the transaction that deletes the photo, note its files for removal.

    They are read here, under a lock: a worker may have rendered the photo after `instance` was
    read, and its renditions would stay for ever.
    """
    rows = Photo.objects.select_for_update().filter(pk=instance.pk)
    for names in rows.values_list("original", "thumbnail", "preview"):
        discard_files(names)


@receiver(post_delete, sender=Photo, dispatch_uid="gallery.photo_gone")
def photo_gone(instance: Photo, **_: Any) -> None:
    announce(photo_deleted, instance)

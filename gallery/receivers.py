"""What happens when a photo is deleted, whichever way: by a page, the API, the admin, a shell.

And when an unfinished upload is.
"""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, pre_delete
from django.dispatch import receiver

from gallery.models import PartialUpload, Photo
from gallery.partial_uploads import remove_bytes_on_commit
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


@receiver(post_delete, sender=PartialUpload, dispatch_uid="gallery.upload_gone")
def upload_gone(instance: PartialUpload, **_: Any) -> None:
    remove_bytes_on_commit(instance.pk)

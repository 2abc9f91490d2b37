"""What the gallery announces to whoever listens.

Each signal is sent inside the transaction that makes it true: the rows that a listener writes are
committed with it, or not at all. Whatever else a listener does has to wait for the commit
(`transaction.on_commit`, `t2isearch.dispatch.wake`).

- `photo_ready(photo_id, owner_id)`: the photo has renditions now, or facts about it changed.
- `photo_deleted(photo_id, owner_id)`: the photo is gone.
- `photo_retried(photo_id, owner_id)`: its owner asks for another try of whatever failed.
- `photos_retried(owner_id)`: the same for all photos of a person. Listeners return of how many
  photos something had failed.
"""

from __future__ import annotations

from django.db import transaction
from django.dispatch import Signal

from gallery.models import Photo

photo_ready = Signal()
photo_deleted = Signal()
photo_retried = Signal()
photos_retried = Signal()


def announce(signal: Signal, photo: Photo) -> None:
    """Send `signal` for `photo`, as part of the current transaction.

    Raises:
        TransactionManagementError: there is none.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("announced outside of a transaction")
    signal.send(sender=Photo, photo_id=photo.pk, owner_id=photo.owner_id)

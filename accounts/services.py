"""What can be done with an account."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, Sum

from accounts.models import User


@dataclass(frozen=True, slots=True)
class Storage:
    """What a person stores: the number of photos, the bytes of their originals, and the limit."""

    photos: int
    used_bytes: int
    limit_bytes: int | None


def storage_of(*, user: User) -> Storage:
    """What `user` stores, the trash included: it counts against the quota as well."""
    stored = user.photos.aggregate(photos=Count("pk"), used_bytes=Sum("size_bytes", default=0))
    return Storage(
        photos=stored["photos"], used_bytes=stored["used_bytes"], limit_bytes=user.storage_limit
    )


def delete_account(*, user: User) -> None:
    """Delete `user` with all photos and tokens, in one transaction.

    The photos' own receivers see to the files and the vectors once it is committed.
    """
    with transaction.atomic():
        # No upload gets in between collecting what has to go and deleting it.
        User.objects.select_for_update().get(pk=user.pk)
        user.delete()

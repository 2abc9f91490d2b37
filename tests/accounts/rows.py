"""Photo rows for tests that look at no files."""

from __future__ import annotations

from itertools import count

from accounts.models import User
from gallery.models import Photo

_numbers = count(1)


def photo_of(owner: User, *, size_bytes: int = 1000) -> Photo:
    """A photo of `owner` whose original is named in the database only."""
    number = next(_numbers)
    return Photo.objects.create(
        owner=owner,
        original=f"originals/{owner.pk}/{number}.jpg",
        sha256=f"{number:064x}",
        filename=f"{number}.jpg",
        media_type="image/jpeg",
        size_bytes=size_bytes,
        width=4,
        height=3,
    )

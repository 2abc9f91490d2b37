"""What can be done with albums. An album only ever takes in photos of its owner."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from gallery.models import Album, AlbumPhoto, Photo


def clean_title(title: str) -> str:
    """A title on one line, without control characters.

    Raises:
        ValidationError: nothing is left of it, or it is too long.
    """
    cleaned = " ".join("".join(c if c.isprintable() else " " for c in title).split())
    longest = Album._meta.get_field("title").max_length or 0
    if not cleaned:
        raise ValidationError(_("An album needs a title."), code="required")
    if len(cleaned) > longest:
        raise ValidationError(
            _("A title has at most %(most)d characters.") % {"most": longest}, code="max_length"
        )
    return cleaned


def create_album(*, owner: User, title: str) -> Album:
    """Make an empty album.

    Raises:
        ValidationError: the title is empty or too long, or there is an album of that title.
    """
    return _saved(Album(owner=owner, title=clean_title(title)))


def rename_album(album: Album, *, title: str) -> Album:
    """Give it another title.

    Raises:
        ValidationError: as for `create_album`.
    """
    album.title = clean_title(title)
    album.updated_at = timezone.now()
    return _saved(album)


def _saved(album: Album) -> Album:
    try:
        with transaction.atomic():
            album.save()
    except IntegrityError as error:
        raise ValidationError(
            _("You have an album of this title already."), code="unique"
        ) from error
    return album


def add_to_album(album: Album, *, photo_ids: Iterable[int]) -> int:
    """Put photos into the album; returns how many were not in it before.

    Whatever is not a photo of the album's owner, or is in the trash, is left out.
    """
    wanted = Photo.objects.owned_by(album.owner).filter(pk__in=list(photo_ids))
    with transaction.atomic():
        # Locked, so that two that add at once count each photo once.
        Album.objects.select_for_update().get(pk=album.pk)
        missing = wanted.exclude(albumphoto__album=album).values_list("pk", flat=True)
        added = AlbumPhoto.objects.bulk_create(
            [AlbumPhoto(album=album, photo_id=pk) for pk in missing], ignore_conflicts=True
        )
        _touch(album)
    return len(added)


def remove_from_album(album: Album, *, photo_ids: Iterable[int]) -> int:
    """Take photos out of the album; they stay in the gallery. Returns how many were in it."""
    with transaction.atomic():
        # Before what is in it, as everywhere: the other way round two would wait for each other.
        Album.objects.select_for_update().get(pk=album.pk)
        removed, _by_model = AlbumPhoto.objects.filter(
            album=album, photo_id__in=list(photo_ids)
        ).delete()
        _touch(album)
    return removed


def choose_cover(album: Album, *, photo: Photo) -> None:
    """Show the album by this photo of it.

    Raises:
        ValidationError: the photo is not in the album.
    """
    if not Photo.objects.owned_by(album.owner).in_album(album).filter(pk=photo.pk).exists():
        raise ValidationError(_("The cover has to be a photo of the album."), code="not_in_album")
    album.cover = photo
    album.updated_at = timezone.now()
    album.save(update_fields=["cover", "updated_at"])


def _touch(album: Album) -> None:
    album.updated_at = timezone.now()
    album.save(update_fields=["updated_at"])

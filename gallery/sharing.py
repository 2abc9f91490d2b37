"""Sharing by a link: whoever has it sees some photos, without an account and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.hashers import check_password, make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _

from accounts.guesses import Guess, count_guess
from accounts.models import User
from gallery.models import Album, Photo, ShareLink

# Between two notes of when a link was opened.
NOTED_EVERY = timedelta(minutes=1)


def share(
    *,
    owner: User,
    album: Album | None = None,
    photo_ids: Iterable[int] = (),
    password: str = "",
    expires_at: datetime | None = None,
) -> ShareLink:
    """Make a link to an album of `owner` (also to what is added to it later) or to some photos.

    Raises:
        ValidationError: there is nothing to share.
        Album.DoesNotExist: it was deleted meanwhile.
    """
    with transaction.atomic():
        # Locked, so that none of it is deleted before it is shared.
        if album is not None:
            Album.objects.select_for_update(no_key=True).get(pk=album.pk)
            photos = []
        else:
            chosen = Photo.objects.owned_by(owner).filter(pk__in=list(photo_ids)).order_by("pk")
            photos = list(chosen.select_for_update(no_key=True))
            if not photos:
                raise ValidationError(_("There is no photo to share."), code="nothing")
        link = ShareLink.objects.create(
            owner=owner,
            album=album,
            password=make_password(password) if password else "",
            expires_at=expires_at,
        )
        link.photos.set(photos)
    return link


def revoke(link: ShareLink) -> None:
    """Close a link for good."""
    link.revoked_at = timezone.now()
    ShareLink.objects.filter(pk=link.pk).update(revoked_at=link.revoked_at)


def note_opened(link: ShareLink) -> None:
    """Remember for the owner when the link was last used, to the minute."""
    now = timezone.now()
    if link.last_opened_at is None or link.last_opened_at < now - NOTED_EVERY:
        ShareLink.objects.filter(pk=link.pk).update(last_opened_at=now)


# The password: asked once a session. The session holds a proof that ends with the password.


def is_unlocked(request: HttpRequest, link: ShareLink) -> bool:
    """Whether this visitor may see the photos: without a password everybody."""
    if not link.password:
        return True
    proof = request.session.get(_session_key(link), "")
    return constant_time_compare(str(proof), _proof(link))


def unlock(request: HttpRequest, link: ShareLink, *, password: str) -> bool:
    """Take the password of a visitor; returns whether it is the right one."""
    if not check_password(password, link.password):
        return False
    request.session[_session_key(link)] = _proof(link)
    return True


def _session_key(link: ShareLink) -> str:
    return f"share-link-{link.pk}"


def _proof(link: ShareLink) -> str:
    return salted_hmac("gallery.sharing", f"{link.token}{link.password}").hexdigest()


def count_try(request: HttpRequest, link: ShareLink) -> Guess | None:
    """Count a password that is tried on the link; None when it may not be tried."""
    return count_guess(request, action="share_link", of=str(link.pk))

"""Sets of photos. Whatever is shown starts from `Photo.objects.owned_by(...)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import models, transaction
from django.db.models import (
    Case,
    Count,
    F,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import BaseExpression, Combinable
from django.db.models.functions import Coalesce
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User
    from gallery.models import Album, PartialUpload, Photo, ShareLink  # noqa: F401

Annotations = Mapping[str, BaseExpression | Combinable]


def _not_searchable() -> Annotations:
    return {"searchable": Value(False), "search_problem": Value("")}


def _all_wait(photos: PhotoQuerySet) -> int:
    return photos.count()


def _none_failed(photos: PhotoQuerySet) -> int:
    return 0


_search_state: Callable[[], Annotations] = _not_searchable
_count_waiting: Callable[[PhotoQuerySet], int] = _all_wait
_count_failed: Callable[[PhotoQuerySet], int] = _none_failed


def provide_search_state(
    source: Callable[[], Annotations],
    count_waiting: Callable[[PhotoQuerySet], int],
    count_failed: Callable[[PhotoQuerySet], int],
) -> None:
    """Let an app say of each photo whether it can be found.

    `source` is asked once a query and returns expressions over `Photo` for `searchable` (bool) and
    `search_problem` (str). `count_waiting` says how many of the photos, all of them ready, are not
    searchable yet, `count_failed` how many have a `search_problem`. The gallery does not know what
    makes a photo searchable.
    """
    global _search_state, _count_waiting, _count_failed
    _search_state, _count_waiting, _count_failed = source, count_waiting, count_failed


def trash_cutoff() -> datetime:
    """What was put into the trash then or earlier has been there for long enough."""
    return timezone.now() - timedelta(days=settings.TRASH_DAYS)


def taken_or_added() -> Coalesce:
    """When a photo was taken or, where that is not known, added: what the timeline goes by.

    The index `gallery_photo_timeline` is over this very expression.
    """
    return Coalesce("taken_at", "created_at")


class PhotoQuerySet(models.QuerySet["Photo"]):
    def owned_by(self, user: User | AnonymousUser) -> Self:
        """The person's own photos that are not in the trash; none for nobody."""
        if user.pk is None:
            return self.none()
        return self.filter(owner=user, trashed_at=None)

    def trashed_of(self, user: User | AnonymousUser) -> Self:
        """The person's own photos in the trash; none for nobody."""
        if user.pk is None:
            return self.none()
        return self.filter(owner=user, trashed_at__gt=trash_cutoff())

    def kept_by(self, user: User | AnonymousUser) -> Self:
        """The person's own photos, those in the trash as well."""
        return self.owned_by(user) | self.trashed_of(user)

    def due_for_purge(self) -> Self:
        """Everybody's photos whose time in the trash is up."""
        return self.filter(trashed_at__lte=trash_cutoff())

    def favourites(self) -> Self:
        return self.filter(is_favourite=True)

    def in_album(self, album: Album) -> Self:
        """Those in `album`. Whose they are has to be said before (`owned_by`)."""
        return self.filter(albumphoto__album=album)

    def for_display(self) -> Self:
        """With `searchable` and `search_problem`, as templates and serializers want them."""
        return self.annotate(**_search_state())

    def count_not_searchable_yet(self) -> int:
        """How many will be found in a while; those that failed do not count.

        Asked for by every page, so its cost goes with what waits and not with what is there.
        """
        states = self.model.State
        processing = self.filter(state=states.PROCESSING).count()
        return processing + _count_waiting(self.filter(state=states.READY))

    def count_failed(self) -> int:
        """How many have a problem: in being rendered or made searchable, or a lost original."""
        states = self.model.State
        failed = self.exclude(state=states.PROCESSING).exclude(error="").count()
        return failed + _count_failed(self.filter(state=states.READY, error=""))

    def with_lost_original(self) -> Self:
        """Those that are shown, and whose original is lost or damaged: they wait for the file."""
        return self.filter(state=self.model.State.READY).exclude(error="")

    def update_in_turn(self, **changes: Any) -> int:
        """As `update`. The rows are locked in the order of their keys, as everywhere, so that two
        requests at work on the same photos never wait for each other."""
        with transaction.atomic():
            list(self.order_by("pk").select_for_update(no_key=True, of=("self",)).values_list("pk"))
            return self.update(**changes)

    def newest_first(self) -> Self:
        return self.order_by("-pk")

    def in_time_order(self) -> Self:
        """The timeline: the newest first, each with its `moment` (when taken, or else added)."""
        return self.annotate(moment=taken_or_added()).order_by(F("moment").desc(), "-pk")

    def newer_than(self, photo: Photo) -> Self:
        """Those before `photo` in the timeline, the nearest first."""
        moment = photo.taken_at or photo.created_at
        return (
            self.annotate(moment=taken_or_added())
            .filter(moment__gte=moment)
            .filter(Q(moment__gt=moment) | Q(pk__gt=photo.pk))
            .order_by("moment", "pk")
        )

    def older_than(self, photo: Photo) -> Self:
        """Those after `photo` in the timeline, the nearest first."""
        moment = photo.taken_at or photo.created_at
        return (
            self.in_time_order()
            .filter(moment__lte=moment)
            .filter(Q(moment__lt=moment) | Q(pk__lt=photo.pk))
        )

    def size_bytes(self) -> int:
        """What the originals of these photos take, in bytes."""
        return int(self.aggregate(total=Sum(F("size_bytes"), default=0))["total"])


class AlbumQuerySet(models.QuerySet["Album"]):
    def owned_by(self, user: User | AnonymousUser) -> Self:
        """The person's own albums; none for nobody."""
        return self.none() if user.pk is None else self.filter(owner=user)

    def for_display(self) -> Self:
        """With `photo_count` and `cover_pk`, the trash left out.

        The cover is the chosen one or else the newest photo that can be shown; None without any.
        """
        from gallery.models import Photo

        shown = Q(photos__trashed_at=None, photos__owner=F("owner"))
        chosen = Case(When(pk=OuterRef("cover"), then=Value(1)), default=Value(0))
        covers = (
            Photo.objects.filter(
                albumphoto__album=OuterRef("pk"), owner=OuterRef("owner"), trashed_at=None
            )
            .exclude(thumbnail="")
            .annotate(chosen=chosen, moment=taken_or_added())
            .order_by("-chosen", "-moment", "-pk")
        )
        return self.annotate(
            photo_count=Count("photos", filter=shown), cover_pk=Subquery(covers.values("pk")[:1])
        )


class ShareLinkQuerySet(models.QuerySet["ShareLink"]):
    def owned_by(self, user: User | AnonymousUser) -> Self:
        """The person's own links; none for nobody."""
        return self.none() if user.pk is None else self.filter(owner=user)

    def open(self) -> Self:
        """Those that still lead somewhere."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None)


class PartialUploadQuerySet(models.QuerySet["PartialUpload"]):
    def owned_by(self, user: User | AnonymousUser) -> Self:
        """The person's own uploads that can still be asked for; none for nobody."""
        if user.pk is None:
            return self.none()
        return self.filter(owner=user, expires_at__gt=timezone.now())

    def undecided(self) -> Self:
        """Those that may still become a photo."""
        return self.filter(state__in=[self.model.State.RECEIVING, self.model.State.FINISHING])

    def finishing(self) -> Self:
        """Those that are complete, of which it is open what becomes of them."""
        return self.filter(state=self.model.State.FINISHING)

    def expired(self) -> Self:
        """Everybody's uploads whose time is up. What is complete is finished first."""
        states = self.model.State
        return self.filter(expires_at__lte=timezone.now()).exclude(state=states.FINISHING)

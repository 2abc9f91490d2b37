"""Photos: the source of truth. What can be computed from them (vectors) lives elsewhere."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Lower, Now
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from gallery.formats import BROWSER_MEDIA_TYPES, EXTENSIONS
from gallery.querysets import (
    AlbumQuerySet,
    PartialUploadQuerySet,
    PhotoQuerySet,
    ShareLinkQuerySet,
)
from t2isearch.leases import InTurns, Leased
from t2isearch.saving import StaysDeleted

if TYPE_CHECKING:
    from accounts.models import User


def original_path(photo: Photo, filename: str) -> str:
    """Where an original is kept: a name that can't be guessed, and nothing from the upload."""
    return f"originals/{photo.owner_id}/{uuid.uuid4().hex}{EXTENSIONS.get(photo.media_type, '')}"


def rendition_path(photo: Photo, filename: str) -> str:
    """Where a rendition is kept. New with each rendering, so two workers never share a file."""
    return f"renditions/{photo.owner_id}/{uuid.uuid4().hex}-{filename}"


class Photo(InTurns):
    """One photo of one person.

    `width` and `height` are those of the picture as it is looked at, with its EXIF orientation
    applied. `priority`, `attempts` and `due_at` belong to rendering it; the first goes for whatever
    is made of it afterwards, too.
    """

    class State(models.TextChoices):
        PROCESSING = "processing", _("Processing")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    # Bound by `PhotoQuerySet.for_display`.
    searchable: bool
    search_problem: str

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="photos", verbose_name=_("owner")
    )
    original = models.FileField(_("original"), upload_to=original_path, max_length=200)
    sha256 = models.CharField(_("SHA-256"), max_length=64, editable=False)
    filename = models.CharField(_("file name"), max_length=255)
    media_type = models.CharField(_("media type"), max_length=40, editable=False)
    size_bytes = models.PositiveBigIntegerField(_("size in bytes"), editable=False)
    width = models.PositiveIntegerField(_("width"), editable=False)
    height = models.PositiveIntegerField(_("height"), editable=False)

    taken_at = models.DateTimeField(_("taken at"), null=True, blank=True)
    camera = models.CharField(_("camera"), max_length=120, blank=True, editable=False)
    latitude = models.FloatField(_("latitude"), null=True, blank=True, editable=False)
    longitude = models.FloatField(_("longitude"), null=True, blank=True, editable=False)

    # How it was exposed, as far as the camera says.
    lens = models.CharField(_("lens"), max_length=120, blank=True, editable=False)
    f_number = models.FloatField(_("f-number"), null=True, blank=True, editable=False)
    exposure_time_s = models.FloatField(
        _("exposure time in seconds"), null=True, blank=True, editable=False
    )
    iso = models.PositiveIntegerField(_("ISO speed"), null=True, blank=True, editable=False)
    focal_length_mm = models.FloatField(
        _("focal length in millimetres"), null=True, blank=True, editable=False
    )

    # What the owner says about it.
    is_favourite = models.BooleanField(_("favourite"), default=False)
    caption = models.TextField(_("caption"), max_length=2000, blank=True)

    thumbnail = models.FileField(
        upload_to=rendition_path, max_length=200, blank=True, editable=False
    )
    thumbnail_width = models.PositiveIntegerField(null=True, editable=False)
    thumbnail_height = models.PositiveIntegerField(null=True, editable=False)
    preview = models.FileField(upload_to=rendition_path, max_length=200, blank=True, editable=False)
    placeholder = models.CharField(max_length=1000, blank=True, editable=False)

    state = models.CharField(
        _("state"), max_length=10, choices=State, default=State.PROCESSING, editable=False
    )
    error = models.CharField(_("error"), max_length=300, blank=True, editable=False)
    trashed_at = models.DateTimeField(
        _("in the trash since"), null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(_("added"), default=timezone.now, editable=False)

    objects = PhotoQuerySet.as_manager()

    class Meta:
        verbose_name = _("photo")
        verbose_name_plural = _("photos")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint("owner", "sha256", name="gallery_photo_bytes_once_per_owner"),
            models.CheckConstraint(
                condition=~Q(state="ready") | (~Q(thumbnail="") & ~Q(preview="")),
                name="gallery_photo_ready_has_renditions",
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(error=""), name="gallery_photo_failed_has_error"
            ),
        ]
        indexes = [
            # A person's gallery, newest first, read page by page.
            models.Index("owner", F("id").desc(), name="gallery_photo_owner_newest"),
            # The timeline: by the time taken, or added where that is not known.
            models.Index(
                "owner",
                Coalesce("taken_at", "created_at").desc(),
                F("id").desc(),
                name="gallery_photo_timeline",
                condition=Q(trashed_at=None),
            ),
            # The trash, and what has been in it for long enough.
            models.Index(
                "trashed_at", name="gallery_photo_trashed", condition=Q(trashed_at__isnull=False)
            ),
            # What is waiting for a worker, and nothing else.
            models.Index(
                "attempts", "due_at", name="gallery_photo_due", condition=Q(state="processing")
            ),
            # The same by turns of its owners.
            models.Index(
                "attempts",
                "priority",
                "owner",
                "due_at",
                "id",
                name="gallery_photo_turns",
                condition=Q(state="processing"),
            ),
            # What failed, which the first page counts.
            models.Index("owner", name="gallery_photo_failed", condition=Q(state="failed")),
        ]

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("gallery:photo", args=[self.pk])

    @property
    def problem(self) -> str:
        """What went wrong, in words for the owner; empty when nothing did."""
        reason: str = self.error or getattr(self, "search_problem", "")
        return gettext(reason) if reason else ""

    @property
    def status(self) -> str:
        """`processing`, `ready` or `failed`: the state as its owner sees it, searching included."""
        return self.State.FAILED if self.problem else self.State(self.state)

    @property
    def can_be_retried(self) -> bool:
        """Whether trying again may help: what a lost original needs is the file."""
        return self.state == self.State.FAILED or bool(getattr(self, "search_problem", ""))

    @property
    def is_displayable(self) -> bool:
        return bool(self.thumbnail)

    @property
    def is_shown_by_browsers(self) -> bool:
        """Whether the original itself can be looked at in any browser."""
        return self.media_type in BROWSER_MEDIA_TYPES

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6

    @property
    def exposure(self) -> str:
        """How it was exposed, as photographers write it: `f/1.8 · 1/120 s · ISO 100 · 35 mm`."""
        parts = []
        if self.f_number:
            parts.append(f"f/{self.f_number:.2g}")
        if self.exposure_time_s:
            seconds = self.exposure_time_s
            parts.append(f"1/{1 / seconds:.0f} s" if seconds < 0.3 else f"{seconds:.2g} s")
        if self.iso:
            parts.append(f"ISO {self.iso}")
        if self.focal_length_mm:
            parts.append(f"{self.focal_length_mm:.3g} mm")
        return " · ".join(parts)

    @property
    def purged_at(self) -> datetime | None:
        """When the trash lets go of it; None outside the trash."""
        if self.trashed_at is None:
            return None
        return self.trashed_at + timedelta(days=settings.TRASH_DAYS)

    @property
    def alt_text(self) -> str:
        """The alternative text of the picture: the caption, or else the name."""
        if self.caption:
            return self.caption
        return gettext("Photo %(name)s") % {"name": PurePosixPath(self.filename).stem}


class Album(StaysDeleted):
    """Photos that a person puts together. It holds only photos of its owner: the services see to
    it (`gallery.albums`), and whatever is shown is filtered by the owner once more.
    """

    # Bound by `AlbumQuerySet.for_display`.
    photo_count: int
    cover_pk: int | None

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="albums", verbose_name=_("owner")
    )
    title = models.CharField(_("title"), max_length=200)
    cover = models.ForeignKey(
        Photo, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("cover")
    )
    photos: models.ManyToManyField[Photo, AlbumPhoto] = models.ManyToManyField(
        Photo, through="AlbumPhoto", related_name="albums", verbose_name=_("photos")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    objects = AlbumQuerySet.as_manager()

    class Meta:
        verbose_name = _("album")
        verbose_name_plural = _("albums")
        ordering = ["-updated_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                "owner",
                Lower("title"),
                name="gallery_album_title_once_per_owner",
                violation_error_message=_("You have an album of this title already."),
            ),
            models.CheckConstraint(condition=~Q(title=""), name="gallery_album_has_title"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("gallery:album", args=[self.pk])


class AlbumPhoto(models.Model):
    """That a photo is in an album."""

    album = models.ForeignKey(Album, models.CASCADE)
    photo = models.ForeignKey(Photo, models.CASCADE)
    added_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint("album", "photo", name="gallery_album_photo_once"),
        ]

    def __str__(self) -> str:
        return f"{self.photo_id} in {self.album_id}"


def new_token() -> str:
    """A secret of 256 random bits, as it stands in an address."""
    return secrets.token_urlsafe(32)


class ShareLink(StaysDeleted):
    """A secret address under which anybody sees an album, or some photos, without an account.

    The token is stored as it is, since its owner has to be able to copy the address again. Whoever
    reads the database has the photos anyway.
    """

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="share_links"
    )
    token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)
    album = models.ForeignKey(
        Album, models.CASCADE, null=True, blank=True, related_name="share_links"
    )
    # Without an album: the photos that were chosen.
    photos: models.ManyToManyField[Photo, models.Model] = models.ManyToManyField(
        Photo, related_name="share_links", blank=True
    )
    # As `django.contrib.auth.hashers` writes it; empty for none.
    password = models.CharField(max_length=128, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_opened_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ShareLinkQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.album.title if self.album else gettext("Chosen photos")

    def get_absolute_url(self) -> str:
        return reverse("gallery:shared", args=[self.token])

    @property
    def is_open(self) -> bool:
        """Whether it still leads somewhere."""
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired

    def shared_photos(self) -> PhotoQuerySet:
        """What can be seen through it: the owner's photos, without those in the trash."""
        own = Photo.objects.owned_by(self.owner)
        if self.album is not None:
            return own.in_album(self.album)
        return own.filter(share_links=self)


class PartialUpload(Leased):
    """A file that comes in piece by piece (`gallery.partial_uploads`).

    The first `offset` of its `length` bytes are there. Once all are, it is finished: they become a
    photo or are refused, and what became of them is kept here until `expires_at`. `attempts` and
    `due_at` belong to finishing it.
    """

    class State(models.TextChoices):
        RECEIVING = "receiving", _("Receiving")
        FINISHING = "finishing", _("Finishing")
        ADDED = "added", _("Added")
        REJECTED = "rejected", _("Rejected")

    # Random, so that it can't be guessed; the owner is checked all the same.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="partial_uploads"
    )
    filename = models.CharField(max_length=255)
    # As the client sent it, which is told it again.
    metadata = models.CharField(max_length=4096, blank=True)
    length = models.PositiveBigIntegerField()
    offset = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVING)
    photo = models.ForeignKey(Photo, models.SET_NULL, null=True, related_name="+")
    duplicate = models.BooleanField(default=False)
    # In the language of the person who sent the last byte: it has figures in it, and lives a day.
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    # With defaults in the database, for processes of the version before, which know neither.
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    due_at = models.DateTimeField(default=timezone.now, db_default=Now(), editable=False)

    objects = PartialUploadQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(length__gt=0), name="gallery_upload_not_empty"),
            # So the offset is never beyond the length, and what reaches it takes no more bytes.
            models.CheckConstraint(
                condition=Q(state="receiving", offset__lt=F("length"))
                | (~Q(state="receiving") & Q(offset=F("length"))),
                name="gallery_upload_decided_when_complete",
            ),
        ]
        indexes = [
            # What is to be finished, and nothing else.
            models.Index("due_at", name="gallery_upload_due", condition=Q(state="finishing")),
        ]

    def __str__(self) -> str:
        return f"{self.filename}: {self.offset} of {self.length} bytes"


class DiscardedFile(Leased):
    """A stored file that goes: its photo is gone, or there is none yet (`provisional.py`)."""

    name = models.CharField(max_length=200, unique=True)

    def __str__(self) -> str:
        return self.name

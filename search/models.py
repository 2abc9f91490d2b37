"""The search index: derived state that can be rebuilt from the photos at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from gallery.models import Photo
from search.encoders import EncoderInfo
from t2isearch.leases import InTurns, Leased
from t2isearch.saving import StaysDeleted

if TYPE_CHECKING:
    from accounts.models import User


class SearchIndexQuerySet(models.QuerySet["SearchIndex"]):
    def active(self) -> SearchIndex | None:
        """The generation that searches use; None before the first one is made."""
        # What only the cut-off needs, and now and then, is many times as large as the rest.
        return self.filter(status=SearchIndex.Status.ACTIVE).defer("background").first()

    def living(self) -> Self:
        """The generations that new photos go into; the active one, which people wait for, first."""
        return self.filter(
            status__in=[SearchIndex.Status.ACTIVE, SearchIndex.Status.BUILDING]
        ).order_by(
            Case(When(status=SearchIndex.Status.ACTIVE, then=Value(0)), default=Value(1)), "pk"
        )

    def building(self) -> Self:
        return self.filter(status=SearchIndex.Status.BUILDING)

    def kept(self) -> Self:
        """The generations that have a collection: those that could be searched, now or again."""
        return self.filter(dropped_at=None)


class SearchIndex(StaysDeleted):
    """One generation of the index: one encoder at one revision, one Milvus collection.

    `building → active → retired`; a retired generation can become the active one again until it is
    dropped. A cancelled or broken build is `failed`, with the reason in `error`.
    """

    class Status(models.TextChoices):
        BUILDING = "building", _("Building")
        ACTIVE = "active", _("Active")
        RETIRED = "retired", _("Retired")
        FAILED = "failed", _("Failed")

    encoder = models.CharField(_("encoder"), max_length=300)
    revision = models.CharField(_("revision"), max_length=100)
    dimension = models.PositiveIntegerField(_("dimension"))
    collection_name = models.CharField(_("Milvus collection"), max_length=100, unique=True)
    reason = models.TextField(_("why this encoder"), blank=True)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.BUILDING)
    error = models.CharField(_("error"), max_length=300, blank=True)

    # How far the photos that were there before have been taken in: up to this primary key, or all
    # of them (null).
    backfilled_to = models.BigIntegerField(null=True, default=0, editable=False)
    # How far a lost collection has been filled again: up to this primary key; null when it's whole.
    refilled_to = models.BigIntegerField(null=True, default=None, editable=False)
    activate_when_complete = models.BooleanField(_("activate when complete"), default=False)
    # The background queries' embeddings (search/relevance.py), and which wording of them.
    background = models.BinaryField(null=True, editable=False)
    background_version = models.PositiveSmallIntegerField(default=0, editable=False)

    created_at = models.DateTimeField(_("created"), default=timezone.now)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)
    activated_at = models.DateTimeField(_("activated"), null=True, blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)
    dropped_at = models.DateTimeField(_("dropped"), null=True, blank=True)

    objects = SearchIndexQuerySet.as_manager()

    class Meta:
        verbose_name = _("search index")
        verbose_name_plural = _("search indexes")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                "status", condition=Q(status="active"), name="search_index_one_active"
            ),
            models.CheckConstraint(
                condition=Q(dropped_at=None) | Q(status__in=["retired", "failed"]),
                name="search_index_living_is_kept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.encoder} ({self.get_status_display()})"

    @property
    def encoder_info(self) -> EncoderInfo:
        return EncoderInfo(name=self.encoder, revision=self.revision, dimension=self.dimension)

    @property
    def is_living(self) -> bool:
        return self.status in {self.Status.ACTIVE, self.Status.BUILDING}

    @property
    def short_revision(self) -> str:
        return self.revision[:12]


class PhotoIndexing(InTurns):
    """How far one photo is in one generation, and its embedding.

    A photo is in Milvus, and so can be found, while `indexed_at` is set; it stays there while it is
    indexed anew. `embedding` is little-endian float16 of shape (dimension,): enough to refill a
    lost Milvus without the model. None with `KEEP_EMBEDDINGS=false`.

    `owner_id` is the photo's, written down once more where it waits: going round by owner
    over a join would read all that waits.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Waiting")
        DONE = "done", _("Searchable")
        FAILED = "failed", _("Failed")

    photo = models.ForeignKey(Photo, models.CASCADE, related_name="indexings")
    # No foreign key: it goes with its photo. 0 where a process of the version before wrote the row.
    owner_id = models.BigIntegerField(default=0, db_default=0, editable=False)
    index = models.ForeignKey(SearchIndex, models.CASCADE, related_name="indexings")
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    error = models.CharField(_("error"), max_length=300, blank=True)
    embedding = models.BinaryField(null=True, editable=False)
    indexed_at = models.DateTimeField(_("indexed"), null=True, blank=True)

    class Meta:
        verbose_name = _("indexing state")
        verbose_name_plural = _("indexing states")
        constraints = [
            models.UniqueConstraint("photo", "index", name="search_photoindexing_once"),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(error=""), name="search_failed_has_error"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(indexed_at__isnull=False),
                name="search_done_is_indexed",
            ),
        ]
        indexes = [
            models.Index(
                "index", "attempts", "due_at", name="search_due", condition=Q(state="pending")
            ),
            # The same by turns of their owners.
            models.Index(
                "index",
                "attempts",
                "priority",
                "owner_id",
                "due_at",
                "id",
                name="search_turns",
                condition=Q(state="pending"),
            ),
            # What failed, which is little.
            models.Index("photo", name="search_failed", condition=Q(state="failed")),
            # One generation's photos in order, page by page.
            models.Index("index", "photo", name="search_by_photo"),
            # How many were indexed in the last minute.
            models.Index("index", "indexed_at", name="search_indexed_at"),
        ]

    def __str__(self) -> str:
        return f"{self.photo_id} in {self.index_id}: {self.get_state_display()}"


class PendingDeletion(Leased):
    """A photo that is gone and may have vectors: written in the transaction that deletes it."""

    photo_id = models.BigIntegerField(unique=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("pending deletion")
        verbose_name_plural = _("pending deletions")

    def __str__(self) -> str:
        return str(self.photo_id)


class IndexRun(Leased):
    """Something done to the index as a whole: who asked for it, how far it is, what came of it.

    A run is worked on in turns, by a worker or a command, and remembers the `position` it reached,
    so that it can be interrupted at any moment.
    """

    class Kind(models.TextChoices):
        BUILD = "build", _("Build")
        ACTIVATE = "activate", _("Activate")
        ROLL_BACK = "roll_back", _("Roll back")
        DROP = "drop", _("Drop")
        REINDEX = "reindex", _("Re-index")
        VERIFY = "verify", _("Verify")
        REFILL = "refill", _("Refill")

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        INTERRUPTED = "interrupted", _("Interrupted")

    index = models.ForeignKey(
        SearchIndex, models.CASCADE, related_name="runs", verbose_name=_("index")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    # What it is limited to; null for everything.
    owner: models.ForeignKey[User | None, User | None] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+"
    )
    # Kind by kind: see search/runs.py.
    options = models.JSONField(default=dict, blank=True)
    state = models.CharField(_("state"), max_length=11, choices=State, default=State.RUNNING)
    position = models.BigIntegerField(default=0)
    findings = models.JSONField(_("findings"), default=dict, blank=True)
    started_by: models.ForeignKey[User | None, User | None] = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("started by"),
    )
    created_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True)
    traceback = models.TextField(_("traceback"), blank=True)

    class Meta:
        verbose_name = _("index run")
        verbose_name_plural = _("index runs")
        ordering = ["-pk"]
        indexes = [
            models.Index("due_at", name="search_run_due", condition=Q(state="running")),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.get_state_display()})"


class ImageQuerySet(models.QuerySet["ImageQuery"]):
    def owned_by(self, user: User) -> Self:
        """The person's own pictures that are still kept."""
        return self.filter(owner=user, expires_at__gt=timezone.now())

    def waiting(self) -> Self:
        return self.filter(
            embedding=None, error="", attempts__lt=settings.WORK_MAX_ATTEMPTS
        ).filter(expires_at__gt=timezone.now())

    def expired(self) -> Self:
        return self.filter(expires_at__lte=timezone.now())


class ImageQuery(Leased):
    """A picture that somebody searches with: not a photo of the gallery, and gone within a day.

    A worker makes the embedding, as the image tower is only there. `picture` is a JPEG of at most
    512 pixels a side. Embedded anew when the active generation is another one.
    """

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+"
    )
    picture = models.BinaryField(editable=False)
    index = models.ForeignKey(SearchIndex, models.CASCADE, null=True, related_name="+")
    embedding = models.BinaryField(null=True, editable=False)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects = ImageQuerySet.as_manager()

    class Meta:
        verbose_name = _("picture searched with")
        verbose_name_plural = _("pictures searched with")
        indexes = [models.Index("expires_at", name="search_image_expires")]

    def __str__(self) -> str:
        return f"{self.pk} of {self.owner_id}"


class RecentSearch(models.Model):
    """What a person searched for lately, once each."""

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="recent_searches"
    )
    query = models.CharField(max_length=500)
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-asked_at", "-pk"]
        constraints = [models.UniqueConstraint("owner", "query", name="search_recent_once")]

    def __str__(self) -> str:
        return self.query


class SavedSearch(StaysDeleted):
    """A search with a name: an album that fills itself."""

    owner: models.ForeignKey[User, User] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_searches"
    )
    name = models.CharField(_("name"), max_length=100)
    query = models.CharField(_("search"), max_length=500)
    by_date = models.BooleanField(_("newest first"), default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = [Lower("name"), "pk"]
        verbose_name = _("saved search")
        verbose_name_plural = _("saved searches")
        constraints = [
            models.UniqueConstraint(
                "owner",
                Lower("name"),
                name="search_saved_name_once",
                violation_error_message=_("You have a saved search of this name already."),
            )
        ]

    def __str__(self) -> str:
        return self.name


class DuplicateScan(Leased):
    """The search for near-duplicates among one person's photos: one row a person.

    Worked on by a worker in turns, up to the photo `position`; `pairs` are the ids of photos that
    are almost the same.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    owner: models.OneToOneField[User, User] = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+"
    )
    index = models.ForeignKey(SearchIndex, models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    compared = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    pairs = models.JSONField(default=list)
    # Groups that the owner wants to keep as they are: lists of photo ids.
    kept = models.JSONField(default=list)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("search for duplicates")
        verbose_name_plural = _("searches for duplicates")

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.get_state_display()}"


class WorkerHeartbeat(models.Model):
    """A Celery worker that said it lives. Written by the worker itself every few seconds."""

    name = models.CharField(max_length=200, unique=True)
    queues = models.CharField(max_length=200)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name


class LoadedTower(models.Model):
    """What a process runs a tower of an encoder on. Written by the process that has loaded it."""

    class Part(models.TextChoices):
        IMAGE = "image", _("image")
        TEXT = "text", _("text")

    process = models.CharField(_("process"), max_length=200)
    part = models.CharField(_("tower"), max_length=5, choices=Part)
    encoder = models.CharField(_("encoder"), max_length=300)
    runtime = models.CharField(_("runs on"), max_length=100)
    reason = models.CharField(_("why"), max_length=500)
    resident_bytes = models.PositiveBigIntegerField(_("memory of the process"))
    loaded_at = models.DateTimeField(_("loaded"), default=timezone.now)

    class Meta:
        verbose_name = _("loaded tower")
        verbose_name_plural = _("loaded towers")
        ordering = ["process", "part", "encoder"]
        constraints = [
            models.UniqueConstraint("process", "part", "encoder", name="search_loaded_tower_once")
        ]

    def __str__(self) -> str:
        return f"{self.process}: {self.encoder} ({self.part})"

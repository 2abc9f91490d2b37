from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from search.heartbeat import PATIENCE
from search.indexing import enqueue
from search.models import IndexRun, LoadedTower, PhotoIndexing, SearchIndex, WorkerHeartbeat
from search.status import findings_in_words, scope_in_words
from search.tasks import index_photos
from search.templatetags.search_console import duration, translated
from t2isearch.dispatch import wake
from t2isearch.leases import Priority
from t2isearch.requests import signed_in


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[type-arg]
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @admin.display(description=_("error"), ordering="error")
    def problem(self, row: SearchIndex | PhotoIndexing | IndexRun) -> str:
        """What is stored as `error`, in the reader's language."""
        return translated(row.error)


@admin.register(SearchIndex)
class SearchIndexAdmin(ReadOnlyAdmin):
    """All generations, also those that were dropped. What is done with them is in the console."""

    list_display = [
        "encoder",
        "short_revision",
        "dimension",
        "status",
        "searchable",
        "waiting",
        "failures",
        "activated_at",
        "dropped_at",
    ]
    list_filter = ["status"]
    fields = [
        "encoder",
        "revision",
        "dimension",
        "reason",
        "status",
        "problem",
        "collection_name",
        "created_at",
        "paused_at",
        "completed_at",
        "activated_at",
        "retired_at",
        "dropped_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SearchIndex]:
        states = PhotoIndexing.State
        return SearchIndex.objects.annotate(
            **{
                state.value: Count("indexings", filter=Q(indexings__state=state))
                for state in states
            }
        )

    @admin.display(description=_("revision"), ordering="revision")
    def short_revision(self, index: SearchIndex) -> str:
        return index.short_revision

    @admin.display(description=_("searchable"))
    def searchable(self, index: SearchIndex) -> int:
        return int(getattr(index, "done", 0))

    @admin.display(description=_("waiting"))
    def waiting(self, index: SearchIndex) -> int:
        return int(getattr(index, "pending", 0))

    @admin.display(description=_("failed"))
    def failures(self, index: SearchIndex) -> int:
        return int(getattr(index, "failed", 0))


@admin.register(PhotoIndexing)
class PhotoIndexingAdmin(ReadOnlyAdmin):
    list_display = ["photo", "owner", "index", "state", "attempts", "problem", "indexed_at"]
    list_filter = ["state", "index"]
    list_select_related = ["photo__owner", "index"]
    search_fields = ["photo__filename", "photo__owner__username", "error"]
    fields = ["photo", "index", "state", "attempts", "problem", "due_at", "indexed_at"]
    # A count of all rows takes seconds with millions of photos.
    show_full_result_count = False
    actions = ["reindex", "retry_failed"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Not here. But it goes with its photo, about which the pages of photos and people ask."""
        match = request.resolver_match
        page = match.url_name or "" if match else ""
        return page.startswith(("gallery_photo_", "accounts_user_"))

    @admin.display(description=_("owner"), ordering="photo__owner__username")
    def owner(self, indexing: PhotoIndexing) -> str:
        return indexing.photo.owner.username

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("search.change_searchindex")

    @admin.action(description=_("Re-index the selected photos"), permissions=["steer"])
    def reindex(self, request: HttpRequest, queryset: QuerySet[PhotoIndexing]) -> None:
        self._enqueue(request, queryset)

    @admin.action(description=_("Retry those that failed"), permissions=["steer"])
    def retry_failed(self, request: HttpRequest, queryset: QuerySet[PhotoIndexing]) -> None:
        self._enqueue(request, queryset.filter(state=PhotoIndexing.State.FAILED))

    def _enqueue(self, request: HttpRequest, rows: QuerySet[PhotoIndexing]) -> None:
        """Each photo in the generation that its row is about; those of the past are left alone."""
        count = 0
        with transaction.atomic():
            for index in SearchIndex.objects.living():
                chosen = rows.filter(index=index).order_by("photo_id")
                photo_ids = list(chosen.values_list("photo_id", flat=True))
                if not photo_ids:
                    continue
                enqueue(photo_ids, indexes=[index], priority=Priority.BACKGROUND)
                count += len(photo_ids)
                sentence = ngettext(
                    "%(count)d selected photo is embedded again.",
                    "%(count)d selected photos are embedded again.",
                    len(photo_ids),
                ) % {"count": len(photo_ids)}
                LogEntry.objects.log_actions(
                    signed_in(request).pk, [index], CHANGE, sentence, single_object=True
                )
            wake(index_photos)
        self.message_user(
            request,
            ngettext(
                "%(count)d photo will be embedded again.",
                "%(count)d photos will be embedded again.",
                count,
            )
            % {"count": count},
        )


@admin.register(IndexRun)
class IndexRunAdmin(ReadOnlyAdmin):
    list_display = ["kind", "index", "scope", "state", "started_by", "created_at", "took", "found"]
    list_filter = ["kind", "state", "index"]
    list_select_related = ["index", "owner", "started_by"]
    search_fields = ["error", "started_by__username"]
    date_hierarchy = "created_at"
    fields = [
        "kind",
        "index",
        "scope",
        "state",
        "started_by",
        "created_at",
        "finished_at",
        "took",
        "position",
        "found",
        "findings",
        "problem",
        "traceback",
    ]

    @admin.display(description=_("limited to"))
    def scope(self, run: IndexRun) -> str:
        return scope_in_words(run)

    @admin.display(description=_("took"))
    def took(self, run: IndexRun) -> str:
        return duration(run.finished_at - run.created_at) if run.finished_at else ""

    @admin.display(description=_("found"))
    def found(self, run: IndexRun) -> str:
        return findings_in_words(run)


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(ReadOnlyAdmin):
    list_display = ["name", "queues", "seen_at", "lives"]
    fields = ["name", "queues", "seen_at"]

    @admin.display(description=_("lives"), boolean=True)
    def lives(self, beat: WorkerHeartbeat) -> bool:
        return beat.seen_at >= timezone.now() - PATIENCE


@admin.register(LoadedTower)
class LoadedTowerAdmin(ReadOnlyAdmin):
    list_display = ["process", "part", "encoder", "runtime", "loaded_at"]

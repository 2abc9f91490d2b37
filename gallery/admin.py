from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from gallery.models import Photo


@admin.register(Photo)
class PhotoAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Facts about photos, not the photos themselves: what is on them is their owner's affair."""

    list_display = ["filename", "owner", "state", "problem", "size_bytes", "taken_at", "created_at"]
    list_filter = ["state", "media_type", "created_at"]
    list_select_related = ["owner"]
    search_fields = ["filename", "owner__username", "owner__email", "sha256"]
    date_hierarchy = "created_at"
    fields = readonly_fields = (
        "filename", "owner", "state", "problem", "attempts", "media_type", "size_bytes", "width",
        "height", "taken_at", "camera", "sha256", "created_at",
    )  # fmt: skip

    @admin.display(description=_("error"), ordering="error")
    def problem(self, photo: Photo) -> str:
        """Stored untranslated."""
        return photo.problem

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

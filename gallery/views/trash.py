"""A person's trash."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from gallery.models import Photo
from gallery.serving import serve_file
from gallery.timeline import in_timeline, page_data
from gallery.trash import empty_trash
from t2isearch.requests import signed_in


@require_safe
@login_required
def trash(request: HttpRequest) -> HttpResponse:
    """What is in the trash, by the day on which it was put there."""
    photos = in_timeline(Photo.objects.trashed_of(request.user), by="trashed_at")
    context = {
        "timeline": page_data(photos),
        "total": photos.count(),
        "days": settings.TRASH_DAYS,
    }
    return render(request, "gallery/trash.html", context)


@require_safe
@login_required
def file(request: HttpRequest, pk: int, variant: str) -> HttpResponseBase:
    """The thumbnail or preview of a photo in the trash."""
    photo = get_object_or_404(Photo.objects.trashed_of(request.user), pk=pk)
    return serve_file(request, photo=photo, variant=variant)


@require_POST
@login_required
def empty(request: HttpRequest) -> HttpResponse:
    """Delete everything in the trash for good."""
    empty_trash(owner=signed_in(request))
    messages.success(request, _("The trash is empty."))
    return redirect("gallery:trash")

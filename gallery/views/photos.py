"""All photos, the favourites, one photo, and what can be done with them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Scope
from gallery.models import Photo
from gallery.querysets import PhotoQuerySet
from gallery.services import change_photo, retry_failed, retry_photo, set_favourite
from gallery.serving import serve_file
from gallery.timeline import page_data
from gallery.trash import move_to_trash
from gallery.views.sets import PhotoSet, chosen_set
from t2isearch.requests import login_or_token_required, positive_ints, signed_in

# Of the grid without a script.
PAGE_SIZE = 60
MOST_STATES = 200


def own_photos(request: HttpRequest) -> PhotoQuerySet:
    """The signed-in person's photos, ready to be shown."""
    return Photo.objects.owned_by(request.user).for_display()


def timeline_context(request: HttpRequest, chosen: PhotoSet) -> dict[str, Any]:
    """What `gallery/_timeline.html` shows: for scripts, and a page of it for who has none."""
    ordered = chosen.photos.in_time_order()
    grid = ordered
    for key in positive_ints(request.GET.get("cursor", ""))[:1]:
        if (last := chosen.photos.filter(pk=key).first()) is not None:
            grid = chosen.photos.older_than(last)
    page = list(grid.for_display()[:PAGE_SIZE])
    return {
        "timeline": page_data(ordered),
        "set_query": chosen.query,
        "photos": page,
        "next_cursor": str(page[-1].pk) if len(page) == PAGE_SIZE else None,
        "total": chosen.photos.count(),
    }


@require_safe
@login_required
def photos(request: HttpRequest) -> HttpResponse:
    """The gallery, newest first."""
    context = timeline_context(request, PhotoSet(Photo.objects.owned_by(request.user)))
    own = Photo.objects.owned_by(request.user)
    context["unsearchable"] = own.count_not_searchable_yet()
    context["failed"] = own.count_failed()
    return render(request, "gallery/photos.html", context)


@require_safe
@login_required
def favourites(request: HttpRequest) -> HttpResponse:
    """The favourites, newest first."""
    own = Photo.objects.owned_by(request.user)
    chosen = PhotoSet(own.favourites(), query="favourites=1")
    return render(request, "gallery/favourites.html", timeline_context(request, chosen))


@require_safe
@login_required
def photo(request: HttpRequest, pk: int) -> HttpResponse:
    """One photo, large, with its facts and its neighbours in the set that it was opened from."""
    chosen = chosen_set(request)
    shown = get_object_or_404(chosen.photos.for_display(), pk=pk)
    context = {
        "photo": shown,
        "newer": chosen.photos.newer_than(shown).first(),
        "older": chosen.photos.older_than(shown).first(),
        "set_query": chosen.query,
        "album": chosen.album,
        "albums": shown.albums.owned_by(request.user).order_by("title"),
    }
    return render(request, "gallery/photo.html", context)


@require_safe
@login_or_token_required(Scope.PHOTOS_READ)
def file(request: HttpRequest, pk: int, variant: str) -> HttpResponseBase:
    """A photo's thumbnail, preview or original."""
    shown = get_object_or_404(Photo.objects.owned_by(request.user), pk=pk)
    download = variant == "original" and "download" in request.GET
    return serve_file(request, photo=shown, variant=variant, download=download)


@require_safe
@never_cache
@login_required
def states(request: HttpRequest) -> JsonResponse:
    """How far some photos are (`ids`, at most 200), for the page that watches them."""
    ids = positive_ints(request.GET.get("ids", ""))[:MOST_STATES]
    queryset = own_photos(request)
    return JsonResponse(
        {
            "photos": [
                {
                    "id": watched.pk,
                    "status": watched.status,
                    "searchable": watched.searchable,
                    "error": watched.problem,
                    "retryable": watched.can_be_retried,
                }
                for watched in queryset.filter(pk__in=ids)
            ],
            "unsearchable": queryset.count_not_searchable_yet(),
            "failed": queryset.count_failed(),
        }
    )


@require_POST
@login_required
def trash(request: HttpRequest, pk: int) -> HttpResponse:
    """Move a photo to the trash, and go on with the one after it."""
    chosen = chosen_set(request)
    gone = get_object_or_404(chosen.photos, pk=pk)
    following = chosen.photos.older_than(gone).first() or chosen.photos.newer_than(gone).first()
    move_to_trash(owner=signed_in(request), photo_ids=[pk])
    messages.success(request, _("“%(name)s” is in the trash.") % {"name": gone.filename})
    if following is None:
        return redirect("gallery:photos")
    query = f"?{chosen.query}" if chosen.query else ""
    return redirect(f"{following.get_absolute_url()}{query}")


@require_POST
@login_required
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Try again what failed for a photo."""
    failed = get_object_or_404(own_photos(request), pk=pk)
    retry_photo(failed)
    return _done(request, failed)


@require_POST
@login_required
def retry_all(request: HttpRequest) -> HttpResponse:
    """Try again what failed for any of the person's photos."""
    owner = signed_in(request)
    retried = retry_failed(owner=owner)
    lost = Photo.objects.owned_by(owner).with_lost_original().count()
    if retried or not lost:
        sentence = ngettext(
            "%(n)s photo is being processed again.",
            "%(n)s photos are being processed again.",
            retried,
        )
        messages.success(request, sentence % {"n": retried})
    if lost:
        sentence = ngettext(
            "The stored original of %(n)s photo is lost or damaged. Upload the photo again.",
            "The stored originals of %(n)s photos are lost or damaged. Upload the photos again.",
            lost,
        )
        messages.warning(request, sentence % {"n": lost})
    return redirect("gallery:photos")


@require_POST
@login_required
def favourite(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a photo a favourite, or no longer (`favourite` is `false`)."""
    marked = get_object_or_404(Photo.objects.owned_by(request.user), pk=pk)
    wanted = request.POST.get("favourite") != "false"
    set_favourite(owner=signed_in(request), photo_ids=[pk], favourite=wanted)
    return _done(request, marked)


@require_POST
@login_required
def caption(request: HttpRequest, pk: int) -> HttpResponse:
    """Change what is written under a photo."""
    described = get_object_or_404(Photo.objects.owned_by(request.user), pk=pk)
    change_photo(described, caption=clean_caption(request.POST.get("caption", "")))
    return _done(request, described)


def clean_caption(text: str) -> str:
    """A caption as it is stored: no NUL, which PostgreSQL does not take, and not without end."""
    longest = Photo._meta.get_field("caption").max_length
    return text.replace("\x00", "").replace("\r\n", "\n").strip()[:longest]


def _done(request: HttpRequest, changed: Photo) -> HttpResponse:
    """The answer to a script, or the photo's page for who has none."""
    if request.headers.get("Accept", "").startswith("application/json"):
        return HttpResponse(status=204)
    return redirect("gallery:photo", pk=changed.pk)

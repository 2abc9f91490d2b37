"""What the timeline in the browser asks for."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gallery.models import Photo
from gallery.querysets import PhotoQuerySet
from gallery.timeline import MOST_ITEMS, Item, in_timeline, items, keys_between, outline
from gallery.views.sets import MOST_CHOSEN, chosen_set, position


def _photos(request: HttpRequest) -> PhotoQuerySet:
    """The photos of the page that asks, in its order."""
    if "trash" in request.GET:
        return in_timeline(Photo.objects.trashed_of(request.user), by="trashed_at")
    return in_timeline(chosen_set(request).photos)


@require_safe
@never_cache
@login_required
def days(request: HttpRequest) -> JsonResponse:
    """The outline of the timeline, after something has changed."""
    return JsonResponse({"days": outline(_photos(request))})


@require_safe
@never_cache
@login_required
def tiles(request: HttpRequest) -> JsonResponse:
    """What the tiles from position `start` on show."""
    photos = _photos(request)
    start, count = tile_range(request)
    shown = items(photos, start=start, count=count)
    return JsonResponse(tiles_answer(photos, start, shown))


@require_safe
@never_cache
@login_required
def keys(request: HttpRequest) -> JsonResponse:
    """The keys of the photos from position `start` on, for choosing many."""
    start = position(request.GET, "start", most=10**9)
    count = position(request.GET, "count", most=MOST_CHOSEN)
    return JsonResponse({"ids": keys_between(_photos(request), start=start, count=count)})


def tile_range(request: HttpRequest) -> tuple[int, int]:
    """From which position on tiles are asked for, and how many."""
    start = position(request.GET, "start", most=10**9)
    count = position(request.GET, "count", most=MOST_ITEMS, default=MOST_ITEMS)
    return start, count


def tiles_answer(photos: PhotoQuerySet, start: int, shown: list[Item]) -> dict[str, object]:
    """`total` tells the browser when its outline is no longer right."""
    return {"start": start, "total": photos.count(), "items": shown}

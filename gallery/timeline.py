"""Photos by day, as the timeline in the browser lays them out.

The outline says of every photo its day and its shape, in one character a photo. The browser knows
from it where each photo goes before it has asked for any of them, so nothing jumps and the scroll
bar is right from the start: 20,000 photos are some 50 KB. What a tile shows is asked for later, by
position, for what is near the window.
"""

from __future__ import annotations

from typing import Any, TypedDict

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import F, FloatField, IntegerField, TextField
from django.db.models.functions import Cast, Chr, Greatest, Least, NullIf, Round, TruncDate

from gallery.models import Photo
from gallery.querysets import PhotoQuerySet

# The shape of a tile: width to height in thirtieths, from 1:2 to 3:1 (what is beyond is cropped),
# as the character with that number after "!". static/js/layout.js reads it.
STEPS = 30
NARROWEST, WIDEST = STEPS // 2, STEPS * 3
FIRST_CHARACTER = ord("!")

# Tiles that are described at once.
MOST_ITEMS = 200

Outline = list[tuple[str, str]]


class Item(TypedDict):
    """What a tile shows."""

    id: int
    status: str
    searchable: bool
    favourite: bool
    alt: str
    name: str
    error: str
    retryable: bool
    shown: bool
    placeholder: str


def in_timeline(photos: PhotoQuerySet, *, by: str = "") -> PhotoQuerySet:
    """`photos` in the order of the timeline, each with its `moment`; `by` names another time."""
    if not by:
        return photos.in_time_order()
    return photos.annotate(moment=F(by)).order_by(F("moment").desc(), "-pk")


def outline(photos: PhotoQuerySet) -> Outline:
    """The days of `in_timeline` photos, the newest first, each with a character a photo."""
    # Limited before it is cast: a picture of one row of pixels is wider than an integer can say.
    ratio = Cast(F("width"), FloatField()) / NullIf(Cast(F("height"), FloatField()), 0.0) * STEPS
    step = Cast(Round(Least(Greatest(ratio, float(NARROWEST)), float(WIDEST))), IntegerField())
    days = (
        photos.order_by()
        .annotate(day=TruncDate("moment"), shape=Chr(step + FIRST_CHARACTER))
        .values("day")
        .annotate(
            shapes=StringAgg(
                "shape",
                delimiter="",
                order_by=(F("moment").desc(), F("pk").desc()),
                output_field=TextField(),
            )
        )
        .order_by("-day")
    )
    return [(day.isoformat(), shapes) for day, shapes in days.values_list("day", "shapes")]


def items(photos: PhotoQuerySet, *, start: int, count: int) -> list[Item]:
    """What the tiles from position `start` on show, at most `MOST_ITEMS`."""
    keys = keys_between(photos, start=start, count=min(count, MOST_ITEMS))
    described = photos.filter(pk__in=keys).for_display().in_bulk()
    return [item(described[key]) for key in keys if key in described]


def keys_between(photos: PhotoQuerySet, *, start: int, count: int) -> list[int]:
    """The keys of the photos from position `start` on."""
    return list(photos.values_list("pk", flat=True)[start : start + count])


def item(photo: Photo) -> Item:
    """The tile of one photo that was read `for_display`."""
    return {
        "id": photo.pk,
        "status": photo.status,
        "searchable": photo.searchable,
        "favourite": photo.is_favourite,
        "alt": photo.alt_text,
        "name": photo.filename,
        "error": photo.problem,
        "retryable": photo.can_be_retried,
        "shown": photo.is_displayable,
        "placeholder": photo.placeholder,
    }


def for_visitors(shown: list[Item]) -> list[Item]:
    """Without what is the owner's own affair: favourites, and how far the search is."""
    return [
        {**each, "favourite": False, "searchable": True, "error": "", "retryable": False}
        for each in shown
    ]


def page_data(photos: PhotoQuerySet) -> dict[str, Any]:
    """What a page with a timeline starts from: the outline and the first tiles."""
    return {"days": outline(photos), "items": items(photos, start=0, count=60)}

"""How a query was understood, part by part, each of which can be taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from gallery.models import Photo
from search.planning import Filter, FilterKind, ImageTerm, Part, PhotoTerm, Plan, TextTerm


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of a plan: what it says in words, and the query without it.

    `photo` or `image_id` are what a term shows, where it is no text; `icon` names a picture for the
    rest.
    """

    label: str
    remaining: str
    icon: str = ""
    photo: Photo | None = None
    image_id: int | None = None


def chips_of(plan: Plan, photos: dict[int, Photo]) -> list[Chip]:
    """The chips of a plan; `photos` are those of its photo terms that there are."""
    return [_chip(part, str(plan.without(part)), photos) for part in plan.parts]


def _chip(part: Part, remaining: str, photos: dict[int, Photo]) -> Chip:
    match part:
        case TextTerm(text=text, weight=weight):
            label = _weighed(weight, _("“%(text)s”") % {"text": text})
            return Chip(label, remaining)
        case PhotoTerm(photo_id=photo_id, weight=weight):
            photo = photos.get(photo_id)
            name = photo.filename if photo else _("photo %(id)d") % {"id": photo_id}
            return Chip(_weighed(weight, name), remaining, photo=photo)
        case ImageTerm(image_id=image_id, weight=weight):
            return Chip(_weighed(weight, _("your picture")), remaining, image_id=image_id)
        case Filter():
            return Chip(_filter_label(part), remaining, icon=_ICONS[part.kind])


def _weighed(weight: float, what: str) -> str:
    """`what` with its weight in words."""
    size = abs(weight)
    if weight < 0:
        if size == 1:
            return _("not like %(what)s") % {"what": what}
        return _("not like %(what)s (× %(size)s)") % {"what": what, "size": f"{size:g}"}
    if size == 1:
        return what
    if size > 1:
        return _("more: %(what)s (× %(size)s)") % {"what": what, "size": f"{size:g}"}
    return _("a little: %(what)s (× %(size)s)") % {"what": what, "size": f"{size:g}"}


_ICONS = {
    FilterKind.AFTER: "calendar",
    FilterKind.BEFORE: "calendar",
    FilterKind.ALBUM: "album",
    FilterKind.IS: "heart",
    FilterKind.CAMERA: "camera",
    FilterKind.TYPE: "image",
    FilterKind.NAME: "image",
}
_LABELS: dict[FilterKind, Callable[[], tuple[str, str]]] = {
    FilterKind.ALBUM: lambda: (_("in the album “%(value)s”"), _("not in the album “%(value)s”")),
    FilterKind.IS: lambda: (_("favourites"), _("no favourites")),
    FilterKind.CAMERA: lambda: (_("camera: %(value)s"), _("camera is not %(value)s")),
    FilterKind.TYPE: lambda: (_("type: %(value)s"), _("type is not %(value)s")),
    FilterKind.NAME: lambda: (_("name has “%(value)s”"), _("name without “%(value)s”")),
}


def _filter_label(each: Filter) -> str:
    if each.kind == FilterKind.AFTER:
        return _("from %(day)s") % {"day": _date(each)}
    if each.kind == FilterKind.BEFORE:
        return _("before %(day)s") % {"day": _date(each)}
    affirmed, denied = _LABELS[each.kind]()
    value = each.value.upper() if each.kind == FilterKind.TYPE else each.value
    return (denied if each.negated else affirmed) % {"value": value}


def _date(each: Filter) -> str:
    match each.value.count("-"):
        case 0:
            return pgettext("a year", "%(year)s") % {"year": each.value}
        case 1:
            return date_format(each.first_day, "YEAR_MONTH_FORMAT")
        case _:
            return date_format(each.first_day, "SHORT_DATE_FORMAT")

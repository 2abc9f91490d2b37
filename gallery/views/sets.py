"""Which photos a page is about: all, the favourites, those of an album."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, QueryDict
from django.shortcuts import get_object_or_404

from gallery.models import Album, Photo
from gallery.querysets import PhotoQuerySet
from t2isearch.requests import positive_ints

# What can be chosen at once: more keys than that are no choice that a page makes.
MOST_CHOSEN = 50_000


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos of one person. `query` is what names the set in an address, empty for all photos."""

    photos: PhotoQuerySet
    query: str = ""
    album: Album | None = None


def chosen_set(request: HttpRequest) -> PhotoSet:
    """The set that the address names by `album` or `favourites`.

    Raises:
        Http404: the album is not the person's own.
    """
    own = Photo.objects.owned_by(request.user)
    if "album" in request.GET:
        match positive_ints(request.GET["album"]):
            case [key]:
                return album_set(request, key)
        raise Http404
    if "favourites" in request.GET:
        return PhotoSet(own.favourites(), query="favourites=1")
    return PhotoSet(own)


def album_set(request: HttpRequest, key: int) -> PhotoSet:
    """The photos of one of the person's albums.

    Raises:
        Http404: it is another person's, or there is none.
    """
    album = get_object_or_404(Album.objects.owned_by(request.user).for_display(), pk=key)
    own = Photo.objects.owned_by(request.user)
    return PhotoSet(own.in_album(album), query=f"album={key}", album=album)


def chosen_ids(data: QueryDict) -> list[int]:
    """The photos that were chosen on a page: the field `ids`, separated by commas."""
    return positive_ints(data.get("ids", ""))[:MOST_CHOSEN]


def position(data: QueryDict, name: str, *, most: int, default: int = 0) -> int:
    """A whole number of the address between 0 and `most`."""
    text = data.get(name, "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
    return min(number, most)

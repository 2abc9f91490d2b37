"""A plan's filters as a set of the owner's own photos."""

from __future__ import annotations

from functools import reduce
from operator import or_

from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.models import User
from gallery.models import Album, Photo
from gallery.querysets import PhotoQuerySet
from search.planning import Filter, FilterKind, Plan


class UnknownAlbum(Exception):
    """A filter names an album that the person does not have; the message says which."""


def matching_photos(owner: User, plan: Plan) -> PhotoQuerySet:
    """The owner's photos that meet every filter, without those that the plan's terms are.

    Several values for the camera, the type or the name mean any of them; all else has to hold.

    Raises:
        UnknownAlbum
    """
    photos = Photo.objects.owned_by(owner)
    if plan.taken_after is not None:
        photos = photos.filter(taken_at__gte=plan.taken_after)
    if plan.taken_before is not None:
        photos = photos.filter(taken_at__lt=plan.taken_before)
    for kind in (FilterKind.CAMERA, FilterKind.TYPE, FilterKind.NAME):
        wanted = [
            _condition(each) for each in plan.filters if each.kind == kind and not each.negated
        ]
        if wanted:
            photos = photos.filter(reduce(or_, wanted))
        for each in plan.filters:
            if each.kind == kind and each.negated:
                photos = photos.exclude(_condition(each))
    for each in plan.filters:
        if each.kind == FilterKind.IS:
            photos = photos.filter(is_favourite=not each.negated)
        elif each.kind == FilterKind.ALBUM:
            # By key and not by a join, which would repeat photos and undo an exclusion.
            inside = Q(pk__in=_album(owner, each.value).photos.values("pk"))
            photos = photos.exclude(inside) if each.negated else photos.filter(inside)
    if plan.photo_ids:
        photos = photos.exclude(pk__in=plan.photo_ids)
    return photos


def _condition(each: Filter) -> Q:
    match each.kind:
        case FilterKind.CAMERA:
            return Q(camera__icontains=each.value)
        case FilterKind.TYPE:
            return Q(media_type=f"image/{each.value}")
        case _:
            return Q(filename__icontains=each.value)


def _album(owner: User, title: str) -> Album:
    album = Album.objects.owned_by(owner).filter(title__iexact=title).first()
    if album is None:
        raise UnknownAlbum(_("You have no album “%(title)s”.") % {"title": title})
    return album

"""What is done with many chosen photos. Keys that are not the person's own are left out."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from accounts.models import User
from gallery.albums import add_to_album, create_album, remove_from_album
from gallery.models import Album, Photo
from gallery.services import set_favourite
from gallery.trash import delete_for_good, move_to_trash, restore
from gallery.views.download import archive_response
from gallery.views.sets import chosen_ids
from t2isearch.requests import positive_ints, signed_in


@require_POST
@login_required
def act(request: HttpRequest, action: str) -> HttpResponse:
    """Do `action` with the photos in `ids`; answers with a sentence about what was done."""
    owner, ids = signed_in(request), chosen_ids(request.POST)
    try:
        message, album = _act(request, action, owner, ids)
    except ValidationError as error:
        return JsonResponse({"message": " ".join(error.messages)}, status=400)
    answer = {"message": message}
    if album is not None:
        answer |= {"url": album.get_absolute_url(), "link": album.title}
    return JsonResponse(answer)


def _act(
    request: HttpRequest, action: str, owner: User, ids: list[int]
) -> tuple[str, Album | None]:
    match action:
        case "trash":
            n = move_to_trash(owner=owner, photo_ids=ids)
            return _count(
                ngettext("%(n)s photo is in the trash.", "%(n)s photos are in the trash.", n), n
            ), None
        case "restore":
            n = restore(owner=owner, photo_ids=ids)
            return _count(ngettext("%(n)s photo is back.", "%(n)s photos are back.", n), n), None
        case "delete":
            n = delete_for_good(owner=owner, photo_ids=ids)
            return _count(
                ngettext(
                    "%(n)s photo is deleted for good.", "%(n)s photos are deleted for good.", n
                ),
                n,
            ), None
        case "favourite" | "unfavourite":
            wanted = action == "favourite"
            n = set_favourite(owner=owner, photo_ids=ids, favourite=wanted)
            return _count(
                ngettext("%(n)s photo is a favourite.", "%(n)s photos are favourites.", n)
                if wanted
                else ngettext(
                    "%(n)s photo is no favourite any more.",
                    "%(n)s photos are no favourites any more.",
                    n,
                ),
                n,
            ), None
        case "add-to-album":
            album = _album(request, owner)
            n = add_to_album(album, photo_ids=ids)
            return _count(
                ngettext("%(n)s photo was added.", "%(n)s photos were added.", n), n
            ), album
        case _:
            album = _album(request, owner)
            n = remove_from_album(album, photo_ids=ids)
            return _count(
                ngettext(
                    "%(n)s photo was taken out of the album.",
                    "%(n)s photos were taken out of the album.",
                    n,
                ),
                n,
            ), None


ACTIONS = (
    "trash", "restore", "delete", "favourite", "unfavourite", "add-to-album", "remove-from-album",
)  # fmt: skip


def _count(message: str, n: int) -> str:
    return message % {"n": n}


def _album(request: HttpRequest, owner: User) -> Album:
    """The album that is named by `album`, or a new one with a `title`."""
    if "title" in request.POST:
        return create_album(owner=owner, title=request.POST["title"])
    keys = positive_ints(request.POST.get("album", ""))
    return get_object_or_404(Album.objects.owned_by(owner), pk__in=keys[:1])


@require_POST
@login_required
def download(request: HttpRequest) -> HttpResponseBase:
    """The originals of the photos in `ids`, as a ZIP."""
    chosen = Photo.objects.owned_by(request.user).filter(pk__in=chosen_ids(request.POST))
    return archive_response(chosen, _("Photos"))

"""A person's albums."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from gallery.albums import choose_cover, create_album, delete_album, rename_album
from gallery.forms import AlbumForm, ShareForm
from gallery.models import Album, Photo
from gallery.querysets import AlbumQuerySet
from gallery.views.download import archive_response
from gallery.views.photos import timeline_context
from gallery.views.sets import album_set
from t2isearch.requests import positive_ints, signed_in


def _own(request: HttpRequest) -> AlbumQuerySet:
    return Album.objects.owned_by(request.user)


def with_covers(request: HttpRequest, shown: AlbumQuerySet) -> list[tuple[Album, Photo | None]]:
    """Each album with the photo that it is shown by."""
    found = list(shown.for_display())
    covers = Photo.objects.owned_by(request.user).in_bulk(
        [each.cover_pk for each in found if each.cover_pk]
    )
    return [(each, covers.get(each.cover_pk or 0)) for each in found]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def albums(request: HttpRequest) -> HttpResponse:
    """All albums, the last changed first; by POST a new one."""
    form = AlbumForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_album(owner=signed_in(request), title=form.cleaned_data["title"])
        except ValidationError as error:
            form.add_error("title", error)
        else:
            return redirect(made)
    context = {"albums": with_covers(request, _own(request)), "form": form}
    return render(request, "gallery/albums.html", context)


@require_safe
@never_cache
@login_required
def choices(request: HttpRequest) -> HttpResponse:
    """The albums to put photos into, for the dialog that asks which."""
    context = {"albums": with_covers(request, _own(request))}
    return render(request, "gallery/_album_choices.html", context)


@require_safe
@login_required
def album(request: HttpRequest, pk: int) -> HttpResponse:
    """One album: its photos, newest first."""
    return _page(request, pk, form=AlbumForm(), status=200)


def _page(request: HttpRequest, pk: int, *, form: AlbumForm, status: int) -> HttpResponse:
    chosen = album_set(request, pk)
    span = chosen.photos.in_time_order()
    context: dict[str, Any] = timeline_context(request, chosen) | {
        "album": chosen.album,
        "newest": span.first(),
        "oldest": span.last(),
        "form": form,
        "share_form": ShareForm(),
    }
    return render(request, "gallery/album.html", context, status=status)


@require_POST
@login_required
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Give an album another title."""
    renamed = get_object_or_404(_own(request), pk=pk)
    form = AlbumForm(request.POST)
    if form.is_valid():
        try:
            rename_album(renamed, title=form.cleaned_data["title"])
        except ValidationError as error:
            form.add_error("title", error)
        else:
            return redirect(renamed)
    return _page(request, pk, form=form, status=400)


@require_POST
@login_required
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete an album; its photos stay."""
    gone = get_object_or_404(_own(request), pk=pk)
    delete_album(gone)
    messages.success(
        request,
        _("The album “%(title)s” is deleted. Its photos are still there.") % {"title": gone.title},
    )
    return redirect("gallery:albums")


@require_POST
@login_required
def cover(request: HttpRequest, pk: int) -> HttpResponse:
    """Show an album by one of its photos (`photo`)."""
    shown = get_object_or_404(_own(request), pk=pk)
    keys = positive_ints(request.POST.get("photo", ""))
    photo = get_object_or_404(Photo.objects.owned_by(request.user).in_album(shown), pk__in=keys[:1])
    try:
        choose_cover(shown, photo=photo)
    except ValidationError as error:  # deleted, or taken out of the album, at this moment
        raise Http404 from error
    messages.success(request, _("“%(title)s” has a new cover.") % {"title": shown.title})
    return redirect(shown)


@require_safe
@login_required
def download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The originals of an album, as a ZIP."""
    wanted = get_object_or_404(_own(request), pk=pk)
    photos = Photo.objects.owned_by(request.user).in_album(wanted)
    return archive_response(photos, wanted.title)

"""What whoever has a link sees: its photos, and nothing of the rest of the site."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from gallery.forms import SharePasswordForm
from gallery.models import ShareLink
from gallery.serving import serve_file
from gallery.sharing import count_try, is_unlocked, note_opened, unlock
from gallery.timeline import for_visitors, in_timeline, items, page_data
from gallery.views.download import archive_response
from gallery.views.photos import PAGE_SIZE
from gallery.views.timeline import tile_range, tiles_answer

Rest = ParamSpec("Rest")
LinkView = Callable[Concatenate[HttpRequest, ShareLink, Rest], HttpResponseBase]
View = Callable[Concatenate[HttpRequest, str, Rest], HttpResponseBase]


def with_link(*, locked: bool = False) -> Callable[[LinkView[Rest]], View[Rest]]:
    """Hand the open link with that token to the view, and keep the answer to who has it.

    A link that is unknown, closed or out of date is a 404, and so is what lies behind a password
    that was not given, save where the view can deal with `locked` links.
    """

    def decorate(view: LinkView[Rest]) -> View[Rest]:
        @wraps(view)
        def guarded(
            request: HttpRequest, token: str, *args: Rest.args, **kwargs: Rest.kwargs
        ) -> HttpResponseBase:
            links = ShareLink.objects.open().select_related("owner", "album")
            link = links.filter(token=token, owner__is_active=True).first()
            response: HttpResponseBase
            if link is None or not (locked or is_unlocked(request, link)):
                response = _gone(request)
            else:
                try:
                    response = view(request, link, *args, **kwargs)
                except Http404:
                    response = _gone(request)
            response.headers["X-Robots-Tag"] = "noindex, nofollow"
            response.headers.setdefault("Cache-Control", "private, no-store")
            return response

        return cast("View[Rest]", guarded)

    return decorate


def _gone(request: HttpRequest) -> HttpResponse:
    """A page of its own: the site's leads to where one signs in."""
    return render(request, "shared/gone.html", status=404)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
@with_link(locked=True)
def page(request: HttpRequest, link: ShareLink) -> HttpResponse:
    """The photos of the link, or the question for its password."""
    if not is_unlocked(request, link):
        return _ask(request, link)
    note_opened(link)
    photos = in_timeline(link.shared_photos())
    data = page_data(photos)
    context = {
        "link": link,
        "timeline": data | {"items": for_visitors(data["items"])},
        "photos": photos[:PAGE_SIZE],
        "total": photos.count(),
    }
    return render(request, "shared/page.html", context)


def _ask(request: HttpRequest, link: ShareLink) -> HttpResponse:
    form = SharePasswordForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST" and form.is_valid():
        attempt = count_try(request, link)
        if attempt is None:
            form.add_error("password", _("That was tried too often. Wait a minute."))
            status = 429
        elif unlock(request, link, password=form.cleaned_data["password"]):
            attempt.was_right()
            return redirect(link)
        else:
            form.add_error("password", _("That is not the password."))
            status = 403
    return render(request, "shared/password.html", {"form": form}, status=status)


@require_safe
@with_link()
def tiles(request: HttpRequest, link: ShareLink) -> HttpResponse:
    """What the tiles from position `start` on show."""
    photos = in_timeline(link.shared_photos())
    start, count = tile_range(request)
    shown = for_visitors(items(photos, start=start, count=count))
    return JsonResponse(tiles_answer(photos, start, shown))


@require_safe
@with_link()
def photo(request: HttpRequest, link: ShareLink, pk: int) -> HttpResponse:
    """One photo, large. Where it was taken is not told."""
    photos = link.shared_photos()
    shown = get_object_or_404(photos, pk=pk)
    context = {
        "link": link,
        "photo": shown,
        "newer": photos.newer_than(shown).first(),
        "older": photos.older_than(shown).first(),
    }
    return render(request, "shared/photo.html", context)


@require_safe
@with_link()
def file(request: HttpRequest, link: ShareLink, pk: int, variant: str) -> HttpResponseBase:
    """The file of one of the link's photos."""
    shown = get_object_or_404(link.shared_photos(), pk=pk)
    download = variant == "original" and "download" in request.GET
    return serve_file(request, photo=shown, variant=variant, download=download)


@require_safe
@with_link()
def download(request: HttpRequest, link: ShareLink) -> HttpResponseBase:
    """All originals, as a ZIP."""
    return archive_response(link.shared_photos(), str(link))

"""The search page."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.models import User
from gallery.models import Photo
from gallery.uploadhandler import check_received
from gallery.validators import RejectedUpload
from search.chips import chips_of
from search.filters import UnknownAlbum
from search.history import recent_searches, remember_search, saved_searches
from search.images import ImageFailed, ImageGone, ImagePending, take_picture, wait_for_pictures
from search.languages import example_queries, is_latin, is_readable, wants_english
from search.models import ImageQuery, SearchIndex
from search.planning import ImageTerm, PhotoTerm, Plan
from search.query import (
    NothingMeant,
    NotSearchableYet,
    Order,
    ResultPage,
    SearchUnavailable,
    search_photos,
)
from search.search_forms import MOST_SHOWN, DetailsForm, SearchForm
from search.snapshots import BadCursor
from search.tiles import tiles_of
from t2isearch.page_rates import limited
from t2isearch.requests import signed_in

SIMILAR_SHOWN = 12
# How long one request waits for a worker to embed a picture; the page asks again.
PICTURE_PATIENCE_S = 1.5


@require_safe
@vary_on_headers("HX-Request")
@login_required
@limited("search", fragment="search/_too_often.html")
def results(request: HttpRequest) -> HttpResponse:
    """Photos that fit a query, one page at a time; the address holds the whole query.

    While Milvus or the encoder is down the page says so, with status 503, and shows no results.
    """
    owner = signed_in(request)
    form = SearchForm(request.GET)
    is_valid = form.is_valid()
    plan = form.plan
    cursor = form.cleaned_data.get("cursor", "")
    context: dict[str, Any] = {
        "form": form,
        "plan": plan,
        "q": str(plan) if is_valid and plan else request.GET.get("q", "").strip(),
        "order": form.cleaned_data.get("order", Order.RELEVANCE),
        "weak": bool(form.cleaned_data.get("weak")),
    }
    context["address"] = _address(context)
    if not is_valid:
        status = HTTPStatus.BAD_REQUEST
    elif not plan:
        status = HTTPStatus.OK
    else:
        context["unreadable"] = _unreadable(plan)
        status = _answer(request, form, context)
    fragment = bool(request.headers.get("HX-Request"))
    if fragment and cursor and status == HTTPStatus.OK:
        return render(request, "search/_result_tiles.html", context)
    _describe(context, owner, plan)
    template = "search/_results.html" if fragment else "search/results.html"
    response = render(request, template, context, status=status)
    if request.headers.get("HX-Trigger") == "search-form" and is_valid and plan:
        # As the query is written canonically, whatever was typed.
        response["HX-Push-Url"] = context["address"]
    return response


def _answer(request: HttpRequest, form: SearchForm, context: dict[str, Any]) -> HTTPStatus:
    owner, wanted = signed_in(request), form.cleaned_data
    cursor = wanted["cursor"]
    if context["unreadable"] and not wanted["weak"]:
        # Whatever came nearest would be noise.
        return HTTPStatus.OK
    started = time.perf_counter()
    if form.plan.image_ids:
        wait_for_pictures(owner, form.plan.image_ids, for_seconds=PICTURE_PATIENCE_S)
    try:
        page = search_photos(
            owner=owner,
            plan=form.plan,
            limit=max(settings.SEARCH_PAGE_SIZE, 0 if cursor else wanted["shown"] or 0),
            offset=wanted["offset"] or 0,
            cursor=cursor,
            order=wanted["order"],
            weak=wanted["weak"],
            states=False,
        )
    except ImagePending:
        context["pending"] = True
        return HTTPStatus.OK
    except NotSearchableYet:
        context["not_searchable_yet"] = True
        context["unavailable"] = _(
            "This photo is not searchable yet. Please try again in a moment."
        )
        return HTTPStatus.SERVICE_UNAVAILABLE
    except SearchUnavailable as error:
        context["unavailable"] = str(error)
        return HTTPStatus.SERVICE_UNAVAILABLE
    except Photo.DoesNotExist:
        context["problem"] = _("There is no such photo among yours.")
        return HTTPStatus.NOT_FOUND
    except ImageGone:
        context["problem"] = _("The picture of this search is no longer kept. Choose it again.")
        return HTTPStatus.NOT_FOUND
    except BadCursor:
        context["problem"] = _("This page of results can't be found. Search again.")
        return HTTPStatus.NOT_FOUND
    except (UnknownAlbum, NothingMeant, ImageFailed) as error:
        context["problem"] = str(error)
        return HTTPStatus.BAD_REQUEST
    context |= _shown(page, wanted["shown"] or settings.SEARCH_PAGE_SIZE, first=not cursor)
    context["took_ms"] = round((time.perf_counter() - started) * 1000)
    if not cursor and not wanted["offset"]:
        remember_search(owner, form.plan)
    return HTTPStatus.OK


def _shown(page: ResultPage, shown: int, *, first: bool) -> dict[str, Any]:
    return {
        "page": page,
        "results": page.results,
        "tiles": list(tiles_of(page.results)),
        "next_cursor": page.next_cursor,
        # What the address says when the next page was shown, for whoever comes back to it.
        "next_shown": min(shown + settings.SEARCH_PAGE_SIZE, MOST_SHOWN),
        "is_first_page": first,
        "incomplete": page.incomplete,
        "encoder": page.encoder,
    }


def _describe(context: dict[str, Any], owner: User, plan: Plan) -> None:
    """What a whole page has beside its results."""
    own = Photo.objects.owned_by(owner)
    photos = own.for_display().in_bulk(list(plan.photo_ids))
    context |= {
        "chips": chips_of(plan, photos) if len(plan.parts) > 1 or not plan.texts else [],
        "details": DetailsForm.showing(owner, plan),
        "has_photos": bool(context.get("results")) or own.exists(),
        "unsearchable": own.count_not_searchable_yet(),
        "like_photo": photos.get(plan.photo_ids[0]) if _is_one_photo(plan) else None,
        "by_picture": len(plan.terms) == 1 and isinstance(plan.terms[0], ImageTerm),
        "words": " + ".join(plan.wished_texts),
        "save_name": ", ".join(plan.wished_texts)[:100],
        "can_be_saved": bool(plan) and not plan.image_ids,
    }
    if not plan:
        index = SearchIndex.objects.active()
        encoder = index.encoder_info if index else None
        context["examples"] = example_queries(encoder)
        context["wants_english"] = wants_english(encoder)
        context["recent"] = recent_searches(owner)
        context["saved"] = saved_searches(owner)


def _unreadable(plan: Plan) -> list[str]:
    """The texts of a plan that the encoder can't read."""
    foreign = [text for text in plan.texts if not is_latin(text)]
    index = SearchIndex.objects.active() if foreign else None
    return [text for text in foreign if index and not is_readable(text, index.encoder_info)]


def _is_one_photo(plan: Plan) -> bool:
    return len(plan.terms) == 1 and isinstance(plan.terms[0], PhotoTerm)


def _address(context: dict[str, Any]) -> str:
    """The address of this search, for links and the address bar."""
    values = {"q": context["q"]}
    if context["order"] == Order.DATE:
        values["order"] = Order.DATE.value
    if context["weak"]:
        values["weak"] = "true"
    return f"{reverse('search:results')}?{urlencode(values)}"


@require_safe
@login_required
def refine(request: HttpRequest) -> HttpResponse:
    """The details panel, written as a query: leads to its results."""
    form = DetailsForm(signed_in(request), request.GET)
    values = {}
    if form.is_valid():
        values["q"] = str(form.plan)
        if request.GET.get("order") == Order.DATE:
            values["order"] = Order.DATE.value
    else:
        # Dates that are none, and the like: what was searched for before stays.
        values["q"] = request.GET.get("q", "")
        messages.error(request, _("These details can't be used: look at the dates."))
    return redirect(f"{reverse('search:results')}?{urlencode(values)}")


@require_POST
@login_required
@limited("search")
def picture(request: HttpRequest) -> HttpResponse:
    """Search with a picture (`picture`) that is not one of the gallery's; it is not kept.

    Leads to the results. `q` is what was in the box: the picture is added to it.
    """
    file = request.FILES.get("picture")
    try:
        taken = take_picture(signed_in(request), _sent(request, file))
    except RejectedUpload as rejected:
        messages.error(request, " ".join(rejected.messages))
        return redirect("search:results")
    return redirect(f"{reverse('search:results')}?{urlencode({'q': f'image:{taken.pk}'})}")


def _sent(request: HttpRequest, file: UploadedFile[bytes] | None) -> UploadedFile[bytes]:
    """Raises as `check_received`, and RejectedUpload when there is no file."""
    check_received(request)
    if file is None:
        raise RejectedUpload(_("Choose a picture to search with."), code="no_picture")
    return file


@require_safe
@login_required
def picture_file(request: HttpRequest, pk: int) -> HttpResponse:
    """The picture that the person searches with, small."""
    shown = get_object_or_404(ImageQuery.objects.owned_by(signed_in(request)), pk=pk)
    return HttpResponse(
        bytes(shown.picture),
        content_type="image/jpeg",
        headers={"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"},
    )


@require_safe
@never_cache
@login_required
@limited("search", fragment="search/_similar_too_often.html")
def similar(request: HttpRequest, pk: int) -> HttpResponse:
    """A part of the photo's page: the photos of one's own that are most like it."""
    owner = signed_in(request)
    photo = get_object_or_404(Photo.objects.owned_by(owner), pk=pk)
    context: dict[str, Any] = {"photo": photo, "results": []}
    try:
        page = search_photos(
            owner=owner, plan=Plan((PhotoTerm(photo.pk),)), limit=SIMILAR_SHOWN, weak=True
        )
    except (SearchUnavailable, NotSearchableYet):
        context["unavailable"] = True
    else:
        context["results"] = page.results
    return render(request, "search/_similar.html", context)

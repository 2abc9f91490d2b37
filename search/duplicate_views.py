"""The page of near-duplicates."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from gallery.models import Photo
from gallery.trash import move_to_trash
from search.duplicates import groups_of, keep_all, start_scan
from search.models import DuplicateScan
from t2isearch.page_rates import limited
from t2isearch.requests import positive_ints, signed_in

GROUPS_SHOWN = 30


@require_safe
@never_cache
@login_required
def duplicates(request: HttpRequest) -> HttpResponse:
    """Groups of almost identical photos; while they are looked for, how far that is."""
    owner = signed_in(request)
    scan = DuplicateScan.objects.filter(owner=owner).select_related("owner").first()
    groups = groups_of(scan) if scan else []
    context = {
        "scan": scan,
        "groups": groups[:GROUPS_SHOWN],
        "group_count": len(groups),
        "total_photos": Photo.objects.owned_by(owner).count(),
    }
    fragment = request.headers.get("HX-Request")
    template = "search/_duplicates.html" if fragment else "search/duplicates.html"
    return render(request, template, context)


@require_POST
@login_required
@limited("search")
def scan_duplicates(request: HttpRequest) -> HttpResponse:
    """Look for duplicates, from the beginning."""
    if start_scan(signed_in(request)) is None:
        messages.error(
            request, _("The search is still being set up. Please try again in a moment.")
        )
    return redirect("search:duplicates")


@require_POST
@login_required
def resolve_duplicates(request: HttpRequest) -> HttpResponse:
    """Deal with one group (`photos`): keep those in `keep` and move the others to the trash.

    With all of them kept, they are not shown as a group again.
    """
    owner = signed_in(request)
    scan = get_object_or_404(DuplicateScan, owner=owner)
    wanted = set(positive_ints(request.POST.get("photos", "")))
    group = next(
        (each for each in groups_of(scan) if {photo.pk for photo in each.photos} == wanted), None
    )
    if group is None:
        messages.info(request, _("These photos have changed meanwhile: look at the groups again."))
        return redirect("search:duplicates")
    kept = wanted & set(positive_ints(",".join(request.POST.getlist("keep"))))
    if not kept:
        messages.error(request, _("Choose at least one photo to keep."))
        return redirect("search:duplicates")
    if kept == wanted:
        keep_all(scan, sorted(wanted))
        messages.success(request, _("These photos are all kept."))
        return redirect("search:duplicates")
    moved = move_to_trash(owner=owner, photo_ids=wanted - kept)
    messages.success(
        request,
        ngettext(
            "%(count)d photo is in the trash now.", "%(count)d photos are in the trash now.", moved
        )
        % {"count": moved},
    )
    return redirect("search:duplicates")

"""A person's links to what they share."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from gallery.forms import ShareForm
from gallery.models import Album, ShareLink
from gallery.sharing import revoke, share
from gallery.views.sets import chosen_ids
from t2isearch.requests import positive_ints, signed_in


@require_safe
@never_cache
@login_required
def links(request: HttpRequest) -> HttpResponse:
    """All links that still lead somewhere, the newest first."""
    shown = ShareLink.objects.owned_by(request.user).open().select_related("album", "owner")
    context = {
        "links": [
            {
                "link": link,
                "url": request.build_absolute_uri(link.get_absolute_url()),
                "count": link.shared_photos().count(),
            }
            for link in shown
        ],
        "new": positive_ints(request.GET.get("new", "")),
    }
    return render(request, "gallery/links.html", context)


@require_POST
@login_required
def create(request: HttpRequest) -> HttpResponse:
    """Share an album (`album`) or some photos (`ids`)."""
    owner, album = signed_in(request), None
    if "album" in request.POST:
        keys = positive_ints(request.POST["album"])
        album = get_object_or_404(Album.objects.owned_by(owner), pk__in=keys[:1])
    form = ShareForm(request.POST)
    context = {"form": form, "album": album, "ids": request.POST.get("ids", "")}
    if not form.is_valid():
        return render(request, "gallery/share.html", context, status=400)
    try:
        link = share(
            owner=owner,
            album=album,
            photo_ids=chosen_ids(request.POST),
            password=form.cleaned_data["password"],
            expires_at=form.expires_at,
        )
    except ValidationError as error:
        form.add_error(None, error)
        return render(request, "gallery/share.html", context, status=400)
    return redirect(f"{reverse('gallery:links')}?new={link.pk}")


@require_POST
@login_required
def close(request: HttpRequest, pk: int) -> HttpResponse:
    """Close a link for good."""
    revoke(get_object_or_404(ShareLink.objects.owned_by(request.user), pk=pk))
    messages.success(request, _("The link is closed."))
    return redirect("gallery:links")

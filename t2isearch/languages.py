"""Choosing a language."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django.views.i18n import set_language


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def language(request: HttpRequest) -> HttpResponse:
    """Set the language (`language`, by POST), and lead back to where that was asked for.

    A GET asks which: for pages that link here instead of having the form, since its token would
    come with a cookie.
    """
    if request.method == "POST":
        return set_language(request)
    back = request.headers.get("Referer", "")
    own = url_has_allowed_host_and_scheme(
        back, {request.get_host()}, require_https=request.is_secure()
    )
    return render(request, "language.html", {"back": back if own else "/"})

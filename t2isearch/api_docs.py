"""The page that describes the API, by Swagger UI: a package's static files, and one script of ours.

It needs no exception from the content security policy (docs/decisions/0024-swagger-ui.md).
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe


# Who is signed in can try the calls out, which change things.
@require_safe
@ensure_csrf_cookie
def api_docs(request: HttpRequest) -> HttpResponse:
    """What `/api/schema/` says, to read and to try out. For everybody, as the schema is."""
    return render(request, "api_docs.html")

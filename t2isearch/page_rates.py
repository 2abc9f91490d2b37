"""Pages that cost as much as a call of the API: they count with its calls, by person."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec, cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from rest_framework import status

from t2isearch.throttles import ScopeThrottle

Rest = ParamSpec("Rest")
View = Callable[Concatenate[HttpRequest, Rest], HttpResponseBase]


def limited(scope: str, *, fragment: str = "") -> Callable[[View[Rest]], View[Rest]]:
    """Let a signed-in person ask the view as often as the rate of `scope` says.

    Beyond it the answer is 429: the template `fragment` to htmx where it replaces something, a
    sentence to scripts that want JSON, and else the page of that status.
    """
    asked: Any = SimpleNamespace(throttle_scope=scope)

    def decorate(view: View[Rest]) -> View[Rest]:
        @wraps(view)
        def guarded(
            request: HttpRequest, *args: Rest.args, **kwargs: Rest.kwargs
        ) -> HttpResponseBase:
            throttle = ScopeThrottle()
            if throttle.allow_request(request, asked):  # type: ignore[arg-type]
                return view(request, *args, **kwargs)
            return _too_often(request, math.ceil(throttle.wait() or 1), fragment)

        return cast("View[Rest]", guarded)

    return decorate


def _too_often(request: HttpRequest, seconds: int, fragment: str) -> HttpResponse:
    code = status.HTTP_429_TOO_MANY_REQUESTS
    response: HttpResponse
    if request.headers.get("Accept", "").startswith("application/json"):
        response = JsonResponse({"message": _("Too many requests.")}, status=code)
    else:
        # The next page of a list replaces nothing: the button for it stays.
        replaces = request.headers.get("HX-Request") and "cursor" not in request.GET
        template = fragment if fragment and replaces else "429.html"
        response = render(request, template, {"seconds": seconds}, status=code)
    response["Retry-After"] = str(seconds)
    return response

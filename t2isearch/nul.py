"""NUL, which PostgreSQL takes in no text: what has one in it names nothing that is stored.

Forms and serializers refuse it in what they read. Here it is kept from what else is looked up:
parts of the path, parameters of the address that no form reads, headers and cookies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase


class NulMiddleware:
    """404 for an address with a NUL, 400 for parameters and headers; a cookie with one is ignored.

    Comes before whatever reads cookies.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        for name in [name for name, value in request.COOKIES.items() if "\0" in name + value]:
            del request.COOKIES[name]
        return self.get_response(request)

    # Not before: the answer is in the person's language.
    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        if "\0" in request.path:
            raise Http404
        sent = [value for name, value in request.META.items() if name.startswith("HTTP_")]
        if "%00" in request.META["QUERY_STRING"] or any("\0" in str(value) for value in sent):
            raise BadRequest("a NUL in the address or in a header")

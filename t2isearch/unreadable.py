"""What can't be read, or looked up, whoever asks for it: NUL, and JSON without end.

PostgreSQL takes a NUL in no text. Forms and serializers refuse it in what they read; here it is
kept from what else is looked up: parts of the path, parameters of the address that no form reads,
headers and cookies. JSON that is nested too deeply, or has a number of thousands of digits, is an
error to Python that neither forms nor rest framework's parser expect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import BadRequest, FieldDoesNotExist
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from t2isearch.problems import bad_request


class UnreadableMiddleware:
    """404 for an address with a NUL, 400 for parameters, headers and bad JSON.

    A cookie with a NUL is ignored: this comes before whatever reads cookies.
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

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        too_deep = isinstance(error, RecursionError) and "JSON" in str(error)
        too_long = isinstance(error, ValueError) and "integer string conversion" in str(error)
        # The admin looks the field of an empty `_to_field` up.
        no_field = isinstance(error, FieldDoesNotExist) and "_to_field" in request.GET
        return bad_request(request, error) if too_deep or too_long or no_field else None

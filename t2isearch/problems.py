"""The API's errors as problem details (RFC 9457, `application/problem+json`).

`type` is `about:blank`: what a problem means is its HTTP status, and `code` tells apart what has
the same one. The errors of fields are under `errors`. They stand beside it under the fields' own
names as well, as before there were problem details, unless a name is one of a problem's own (an
album's `title`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler

MEDIA_TYPE = "application/problem+json"
MEMBERS = ("type", "title", "status", "detail", "instance", "code", "errors")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Rest framework's answer to an error, as a problem."""
    response = default_handler(error, context)
    if response is not None:
        request = context["request"]
        response.data = problem_of(response, error, instance=request.path)
        renderer = getattr(request, "accepted_renderer", None)
        # The schema itself can be asked for as YAML, and so is what went wrong then.
        if renderer is None or renderer.media_type == "application/json":
            response.content_type = MEDIA_TYPE
    return response


def problem_response(error: exceptions.APIException, request: HttpRequest) -> HttpResponse:
    """The same from a view that is not rest framework's."""
    response = default_handler(error, {"request": request})
    if response is None:
        raise error
    data = problem_of(response, error, instance=request.path)
    return HttpResponse(
        json.dumps(data),
        status=response.status_code,
        headers=dict(response.headers) | {"Content-Type": MEDIA_TYPE},
    )


def problem_of(response: Response, error: Exception, *, instance: str) -> dict[str, Any]:
    """The members of a problem, from what rest framework would have answered."""
    data: Any = response.data
    if isinstance(error, exceptions.ValidationError):
        fields = data if isinstance(data, dict) else {"non_field_errors": data}
        errors = {str(name): list(_messages(found)) for name, found in fields.items()}
        detail = " ".join(message for found in errors.values() for message in found)
        members = _problem(response.status_code, detail, "invalid", instance)
        beside = {name: found for name, found in errors.items() if name not in MEMBERS}
        return members | {"errors": errors} | beside
    detail = data["detail"]
    return _problem(response.status_code, str(detail), getattr(detail, "code", "error"), instance)


def _problem(status: int, detail: str, code: str, instance: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
    }


def _title(status: int) -> str:
    # The one of tus is in no registry of statuses.
    return "Checksum Mismatch" if status == 460 else HTTPStatus(status).phrase


def _messages(found: Any) -> Iterator[str]:
    """The sentences in the errors of a field, whose parts may have some of their own."""
    if isinstance(found, dict):
        for each in found.values():
            yield from _messages(each)
    elif isinstance(found, list | tuple):
        for each in found:
            yield from _messages(each)
    else:
        yield str(found)


# What is answered outside of rest framework: under /api/ as a problem, else by the site's pages.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _of_api(request):
        return defaults.bad_request(request, exception)
    return problem_response(exceptions.ParseError(), request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if not _of_api(request):
        return defaults.page_not_found(request, exception)
    return problem_response(exceptions.NotFound(), request)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if not _of_api(request):
        return defaults.server_error(request)
    return problem_response(exceptions.APIException(_("That did not work.")), request)


def _of_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")

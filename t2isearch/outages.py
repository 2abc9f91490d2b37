"""What people and programs are told while something is away that a request needs.

Where attempts are counted (the cache), nobody goes on uncounted; where files are stored or pictures
decoded, nothing is taken in by halves. The same request may work later, and is told so.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rest_framework import exceptions, status
from rest_framework.response import Response

from gallery.storage import StorageFull, outage_of
from gallery.validators import NotDecodedNow
from t2isearch import problems

logger = logging.getLogger(__name__)

# Of what PostgreSQL says: no connection, no resources, about to end or not there yet. It says
# nothing at all where it is gone.
_AWAY = ("08", "53", "57P")

SERVICE_RETRY_AFTER_S = 15
RETRY_AFTER_S = 60


class PartAway(exceptions.APIException):
    """Something that a request needs does not answer: 503, or 507 where there is no room."""

    default_code = "unavailable"

    def __init__(self, sentence: str, *, wait: int, is_full: bool = False) -> None:
        self.status_code = (
            status.HTTP_507_INSUFFICIENT_STORAGE if is_full else status.HTTP_503_SERVICE_UNAVAILABLE
        )
        self.wait = wait
        super().__init__(sentence, "no_room" if is_full else self.default_code)


def no_room() -> PartAway:
    sentence = _("The storage of this site is full. Please try again later.")
    return PartAway(sentence, wait=RETRY_AFTER_S, is_full=True)


def part_away(error: Exception) -> PartAway | None:
    """What is said about `error`; None where it is no outage."""
    if isinstance(error, RedisError) or is_database_away(error):
        sentence = _("A part of this site does not answer. Try again in a moment.")
        return PartAway(sentence, wait=SERVICE_RETRY_AFTER_S)
    if isinstance(error, NotDecodedNow):
        sentence = _("Pictures can't be taken in right now. Please try again in a minute.")
        return PartAway(sentence, wait=RETRY_AFTER_S)
    if (outage := outage_of(error)) is None:
        return None
    if isinstance(outage, StorageFull):
        return no_room()
    sentence = _("Files can't be stored or read right now. Please try again in a minute.")
    return PartAway(sentence, wait=RETRY_AFTER_S)


def is_database_away(error: BaseException) -> bool:
    """Whether PostgreSQL takes no statements, whatever they are."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_AWAY)


def answer(away: PartAway, request: HttpRequest, *, knows_person: bool = True) -> HttpResponse:
    """What is said, as a page or as a problem. Who somebody is may be what can't be asked."""
    if request.path.startswith("/api/"):
        return problems.problem_response(away, request)
    context = {"code": away.status_code, "explanation": away.detail}
    page = render_to_string("503.html", context, request if knows_person else None)
    response = HttpResponse(page, status=away.status_code)
    response["Retry-After"] = str(away.wait)
    return response


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Rest framework's answer to an error, as a problem."""
    if (away := part_away(error)) is not None:
        logger.error("%s can't be answered now: %r", context["request"].path, error)
    return problems.exception_handler(away or error, context)


class OutageMiddleware:
    """Answers with 503 or 507 where a view could not do without what is away."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        away = part_away(error)
        # Without the database there is no page that knows who somebody is: see `server_error`.
        if away is None or is_database_away(error):
            return None
        logger.error("%s can't be answered now: %r", request.path, error)
        return answer(away, request)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """The answer to what no view and no middleware caught, from wherever it came."""
    error = sys.exception()
    if isinstance(error, Exception) and (away := part_away(error)) is not None:
        return answer(away, request, knows_person=False)
    return problems.server_error(request)

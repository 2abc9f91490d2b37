"""Requests that meet at the same rows: what one has deleted or changed, the other finds so.

Services lock what they change, in the order given here, and raise `DoesNotExist` where it is gone.
What they can't foresee is answered here as what it is, and not as a fault of the server.

The order: the person, then albums, then photos, then what hangs on them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError, OperationalError
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from psycopg import errors
from rest_framework import exceptions, status

from t2isearch.problems import not_found, problem_response

logger = logging.getLogger(__name__)


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


def is_taken(error: IntegrityError) -> bool:
    """Whether what has to be unique is there already."""
    return isinstance(error.__cause__, errors.UniqueViolation)


def met_another(error: Exception) -> exceptions.APIException | None:
    """The problem that `error` is where two requests met; None where it is another matter."""
    cause = error.__cause__
    # Django's own, without a cause: `save` found no row to update.
    is_gone = type(error) is DatabaseError and cause is None
    if is_gone or isinstance(error, ObjectDoesNotExist):
        return exceptions.NotFound()
    if isinstance(error, IntegrityError | OperationalError) and isinstance(
        cause,
        # Between a check and the change: the same was added, what was meant is gone, or something
        # was hung on what is being deleted.
        errors.UniqueViolation
        | errors.ForeignKeyViolation
        | errors.DeadlockDetected
        | errors.LockNotAvailable
        | errors.SerializationFailure,
    ):
        return Conflict(_("Another change was made at the same moment. Please try again."))
    return None


class ConflictMiddleware:
    """Answers with 404 or 409 where requests met at the same rows."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        problem = met_another(error)
        if problem is None:
            return None
        # With where it was: it may be a mistake of ours all the same.
        logger.warning("%s met another request: %s", request.path, error, exc_info=error)
        if request.path.startswith("/api/"):
            return problem_response(problem, request)
        if problem.status_code == status.HTTP_404_NOT_FOUND:
            return not_found(request, Http404())
        return render(request, "409.html", status=problem.status_code)

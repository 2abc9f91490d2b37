"""What people see while the cache is away: where attempts are counted, nobody goes on uncounted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rest_framework import exceptions, status

from t2isearch.problems import problem_response

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 15


class CacheAway(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    wait = RETRY_AFTER_S


class OutageMiddleware:
    """Answers with 503 where a view could not do without Redis, such as signing in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, RedisError):
            return None
        logger.error("%s needs the cache, which does not answer: %s", request.path, error)
        if request.path.startswith("/api/"):
            return problem_response(
                CacheAway(_("A part of this site does not answer. Try again in a moment.")), request
            )
        response = render(request, "503.html", status=503)
        response["Retry-After"] = str(RETRY_AFTER_S)
        return response

"""How often a person may call the API: `UPLOAD_RATE`, `SEARCH_RATE`, else `API_RATE`."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import ScopedRateThrottle

logger = logging.getLogger(__name__)

GUARDING = {"token"}
# Stands for the views that have no scope of their own.
_GENERAL: Any = SimpleNamespace(throttle_scope="api")


class ScopeThrottle(ScopedRateThrottle):
    """Counts the calls of a person by the view's `throttle_scope`, or with all the others.

    What is counted lies in the cache. While that is away the limits against programs that run wild
    are not kept, and the gallery goes on; where passwords could be guessed nobody goes on.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        scope = getattr(view, "throttle_scope", None)
        try:
            return super().allow_request(request, view if scope else _GENERAL)
        except (RedisError, OSError) as error:
            if scope in GUARDING:
                raise
            logger.warning("the rate of calls can't be counted: %s", error)
            return True

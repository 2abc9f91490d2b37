"""The caches: the default one counts attempts and rates, `derived` keeps what can be made again."""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.utils.connection import ConnectionProxy
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Behaves as `django.core.cache.cache` does.
derived: Any = ConnectionProxy(caches, "derived")


class ForgivingRedisCache(RedisCache):
    """Redis for what can be made again: while it is away nothing is found, and nothing is kept."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        try:
            return super().get(key, default, version)
        except (RedisError, OSError) as error:
            logger.warning("the cache does not answer: %s", error)
            return default

    def set(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().set(*args, **kwargs)
        except (RedisError, OSError) as error:
            logger.warning("the cache does not answer: %s", error)

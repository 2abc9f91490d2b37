"""The caches: the default one counts attempts and rates, `derived` keeps what can be made again."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.utils.connection import ConnectionProxy
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from t2isearch.silence import Silence, Silent

logger = logging.getLogger(__name__)

# Behaves as `django.core.cache.cache` does.
derived: Any = ConnectionProxy(caches, "derived")

# By host and port: each thread has caches of its own, to the same Redis.
_silences: defaultdict[tuple[object, object], Silence] = defaultdict(partial(Silence, pause_s=5.0))


class PromptRedis(Redis):
    """Asks a Redis that hangs once in a while, and else fails at once."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        address = self.connection_pool.connection_kwargs
        try:
            with _silences[address.get("host"), address.get("port")].asking():
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except Silent as silent:
            raise RedisConnectionError("it did not answer a moment ago") from silent


class PromptRedisClient(RedisCacheClient):
    """A value that can't be read, or is none of ours, counts as none and is removed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._client = PromptRedis

    def get(self, key: Any, default: Any) -> Any:
        try:
            return super().get(key, default)
        except (RedisError, OSError) as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
        except Exception:  # whatever reading a damaged pickle raises
            logger.warning("a value of the cache can't be read and is removed", exc_info=True)
        self.delete(key)
        return default


class PromptRedisCache(RedisCache):
    """Redis for what must not be lost sight of: what it can't say raises RedisError."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = PromptRedisClient


class ForgivingRedisCache(PromptRedisCache):
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

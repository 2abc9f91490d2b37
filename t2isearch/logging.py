"""Logs: one line an event, on standard error, for a terminal and for a log collector alike.

With LOG_FORMAT=json each line is an object. Each event of a request carries the request's id, and
the tasks that the request sent carry it on: from the click to the vector.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from celery._state import get_current_task
from celery.signals import before_task_publish, task_postrun, task_prerun
from django.http import HttpRequest
from django.http.response import HttpResponseBase

request_id: ContextVar[str] = ContextVar("request_id", default="")

HEADER = "X-Request-Id"
TASK_HEADER = "t2isearch_request_id"


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            event["request_id"] = request_id.get()
        task: Any = get_current_task()
        if task is not None and task.request.id:
            event |= {"task": task.name, "task_id": task.request.id}
        if record.exc_text or record.exc_info:
            event["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(event, ensure_ascii=False)


class RequestIdMiddleware:
    """Gives each request an id, or keeps that of a proxy, and sends it back."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.headers.get(HEADER, "")
        name = sent if re.fullmatch(r"[\w-]{8,64}", sent, re.ASCII) else uuid.uuid4().hex
        token = request_id.set(name)
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(token)
        response.headers[HEADER] = name
        return response


@before_task_publish.connect
def _send_along(headers: dict[str, Any], **kwargs: Any) -> None:
    if request_id.get():
        headers[TASK_HEADER] = request_id.get()


@task_prerun.connect
def _take_over(task: Any, **kwargs: Any) -> None:
    request_id.set(getattr(task.request, TASK_HEADER, None) or "")


@task_postrun.connect
def _forget(**kwargs: Any) -> None:
    request_id.set("")


def logging_config(level: str, *, as_json: bool = False) -> dict[str, Any]:
    """A `logging.config.dictConfig` dictionary that logs our own packages from `level` up.

    Whatever is logged, by whichever library, goes through one handler and its filter
    (`t2isearch.redaction`).
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"redacting": {"()": "t2isearch.redaction.Redacting"}},
        "formatters": {
            "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
            "json": {"()": "t2isearch.logging.JsonFormatter"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "filters": ["redacting"],
                "formatter": "json" if as_json else "line",
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            name: {"level": level}
            for name in (
                "accounts",
                "gallery",
                "search",
                "t2isearch",
                "celery.worker",
                "celery.beat",
            )
        }
        # Django gives them handlers of their own.
        | {"django": {"handlers": [], "propagate": True}}
        | {"django.server": {"handlers": [], "propagate": True, "level": "INFO"}},
    }

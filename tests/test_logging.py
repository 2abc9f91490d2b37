"""Logs as JSON, and the id that leads from a request to its tasks."""

from __future__ import annotations

import json
import logging
import sys
from types import SimpleNamespace

import pytest
from django.test import Client

from t2isearch.logging import (
    TASK_HEADER,
    JsonFormatter,
    _forget,
    _send_along,
    _take_over,
    request_id,
)


def event(**changes: object) -> dict[str, str]:
    record = logging.LogRecord("gallery", logging.INFO, "", 0, "photo %s: “ok”\n", (7,), None)
    vars(record).update(changes)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed: dict[str, str] = json.loads(line)
    return parsed


def test_an_event_is_one_object() -> None:
    found = event()
    assert (found["level"], found["logger"]) == ("INFO", "gallery")
    assert found["message"] == "photo 7: “ok”\n"
    assert "request_id" not in found


def test_an_exception_is_in_it() -> None:
    try:
        int("broken")
    except ValueError:
        assert "ValueError: invalid literal" in event(exc_info=sys.exc_info())["exception"]


@pytest.mark.parametrize(
    ("sent", "kept"), [("abcdef-0123456789", True), ("x", False), ("a" * 65, False), ("", False)]
)
def test_each_request_has_an_id(db: None, sent: str, kept: bool) -> None:
    answer = Client(headers={"X-Request-Id": sent} if sent else {}).get("/healthz")
    assert (answer["X-Request-Id"] == sent) is kept
    assert len(answer["X-Request-Id"]) >= 16
    assert request_id.get() == ""


def test_tasks_carry_the_id_of_the_request() -> None:
    headers: dict[str, str] = {}
    token = request_id.set("request-1")
    _send_along(headers)
    request_id.reset(token)
    assert headers == {TASK_HEADER: "request-1"}

    _take_over(SimpleNamespace(request=SimpleNamespace(**headers)))
    assert event()["request_id"] == "request-1"
    _forget()
    assert "request_id" not in event()
    # One that beat sent has none.
    _take_over(SimpleNamespace(request=SimpleNamespace()))
    assert request_id.get() == ""

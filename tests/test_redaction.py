"""What never lies in a log, whoever writes it: keys of links, passwords, embeddings."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.models import User
from t2isearch.logging import logging_config
from t2isearch.redaction import LONGEST, Redacting, redacted
from t2isearch.sentry import without_people

# As `secrets.token_urlsafe(32)` makes them; the same in each process that tests are spread over.
KEY = "XJmdShQZQbhekP-TVfUeTmNLn_rI6Dretsd00TUEXTo"
VECTOR = np.random.default_rng(1).standard_normal(512).astype(np.float32)


@contextmanager
def written(*, as_json: bool = False) -> Iterator[io.StringIO]:
    """What the handler of `logging_config` writes meanwhile, of any logger."""
    handler_config = logging_config("DEBUG", as_json=as_json)
    configurator = logging.config.DictConfigurator(handler_config)
    handler = logging.StreamHandler(stream := io.StringIO())
    configured = handler_config["handlers"]["stderr"]
    name = configured["formatter"]
    handler.setFormatter(configurator.configure_formatter(handler_config["formatters"][name]))
    for name in configured["filters"]:
        handler.addFilter(configurator.configure_filter(handler_config["filters"][name]))
    logging.getLogger().addHandler(handler)
    try:
        yield stream
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    "line",
    [
        f"Not Found: /s/{KEY}/photos/3/thumbnail/",
        f"GET /s/{KEY}/?page=2 HTTP/1.1",
        f"GET /accounts/login/?next=%2Fs%2F{KEY}%2F",
        f"Referer: http://example.com/s/{KEY}",
        f"Forbidden (CSRF token missing.): /accounts/password/reset/key/1a-{KEY}/",
        f"/accounts/confirm-email/MQ:{KEY}/",
        f"/photo?X-Amz-Signature={KEY}&more",
        f"GET /?access_token={KEY}",
        f"Authorization: Token {KEY}",
        f"headers {{'Authorization': 'Bearer {KEY}'}}",
        f"Cookie: sessionid={KEY}; csrftoken=1",
        f"{{'password': '{KEY}', 'username': 'anna'}}",
        f"redis://:{KEY}@localhost/0 does not answer",
        f"duplicate key value\nDETAIL:  Key (token)=({KEY}) already exists.",
        f"STATEMENT:  SET token = '{KEY}'",
    ],
)
def test_no_key_is_left_in_a_line(line: str) -> None:
    assert KEY not in redacted(line)
    assert KEY[:20] not in redacted(line)


@pytest.mark.parametrize(
    "text",
    [
        str(VECTOR.tolist()),
        repr(VECTOR),
        str(VECTOR),
        f"vectors must be normalised, got {VECTOR[:3].tolist()}",
        " ".join(f"data: {number}" for number in VECTOR),
        json.dumps({"embedding": VECTOR.tolist()}),
    ],
)
def test_no_embedding_is_left_in_a_line(text: str) -> None:
    left = redacted(f"(code=1, message={text})")
    assert "(code=1" in left
    for number in VECTOR[:3]:
        assert f"{number:.5}"[1:7] not in left


@pytest.mark.parametrize("text", [repr(VECTOR.astype("<f2").tobytes()), VECTOR.tobytes().hex()])
def test_no_embedding_in_bytes_is_left_in_a_line(text: str) -> None:
    left = redacted(f"value: \\x{text}" if text.isalnum() else text)
    assert len(left) < len(text) / 4


def test_what_is_useful_stays() -> None:
    line = (
        "2026-11-27 16:00:00,123 WARNING search.tasks: photo 7 of the generation 3: attempt 2 "
        "failed after 1.25 s (0.5, 0.75): /media/originals/2026/ab-cd.jpg, "
        "Task search.tasks.sweep[3f2b6c1e-1111-4222-8333-944455556666] received, "
        "127.0.0.1:19530, /var/s/logs, photos_20261127160221739526"
    )
    assert redacted(line) == line


def test_a_line_is_bounded() -> None:
    left = redacted("a" * 10_000_000 + "the end")
    assert len(left) < LONGEST + 100
    assert left.endswith("the end")


@pytest.mark.parametrize("as_json", [False, True])
def test_what_django_says_of_a_path_holds_no_key(db: None, *, as_json: bool) -> None:
    with written(as_json=as_json) as log:
        for path in (
            f"/s/{KEY}/",
            f"/s/{KEY}/photos/999/",
            f"/accounts/password/reset/key/1a-{KEY}/",
            f"/accounts/confirm-email/{KEY}/",
        ):
            Client().get(path)
            Client(headers={"host": "elsewhere.example"}).get(path)
    assert "/s/[…]/" in log.getvalue()
    assert "elsewhere.example" in log.getvalue()
    assert KEY not in log.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exception_is_written_without_what_it_was_about(db: None, *, as_json: bool) -> None:
    User.objects.create_user(KEY)
    with written(as_json=as_json) as log:
        try:
            with transaction.atomic():
                User.objects.create(username=KEY)
        except IntegrityError:
            logging.getLogger("somebody.else").exception("it failed with %s", VECTOR.tolist())
    assert "IntegrityError" in log.getvalue()
    assert KEY not in log.getvalue()
    assert str(VECTOR[0])[:6] not in log.getvalue()


def test_a_wrong_format_lets_nothing_through() -> None:
    record = logging.LogRecord("gallery", logging.INFO, "", 0, "%d", (f"/s/{KEY}/",), None)
    assert Redacting().filter(record)
    assert KEY not in record.getMessage()


def test_what_is_sent_to_sentry_holds_no_key() -> None:
    event = without_people(
        {
            "logentry": {"message": "Not Found: %s", "params": [KEY], "formatted": f"/s/{KEY}/"},
            "exception": {"values": [{"type": "Oops", "value": f"no link at /s/{KEY}/"}]},
        },
        {},
    )
    assert KEY not in str(event)

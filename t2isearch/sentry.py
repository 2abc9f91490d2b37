"""Errors to Sentry, where there is one (`SENTRY_DSN`): what broke, and nothing about people.

Neither who asked nor what for is sent: no user, header, cookie or body, no address (that of a
shared link is a key; the view's pattern says where it broke), no values of local variables, no
lines of the log before it, no parameters of tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2isearch.logging import request_id
from t2isearch.redaction import redacted

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint


def send_errors(dsn: str) -> None:
    """Have unhandled errors and logged ones sent from now on."""
    # Only who names a Sentry needs it.
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        traces_sample_rate=0.0,
        before_send=without_people,
    )


def without_people(event: Event, hint: Hint) -> Event:
    """The event with nothing about people in it, and with the request's id."""
    request: dict[str, Any] = event.get("request") or {}
    event["request"] = {"method": request.get("method", "")}
    for name in ("user", "breadcrumbs"):
        event.pop(name, None)  # type: ignore[misc]
    written: list[Any] = [event.get("logentry"), *event.get("exception", {}).get("values", [])]
    for part in filter(None, written):
        part.pop("params", None)
        for name in ("message", "formatted", "value"):
            if isinstance(part.get(name), str):
                part[name] = redacted(part[name])
    event["extra"] = {}
    event.get("contexts", {}).pop("celery-job", None)
    if request_id.get():
        event.setdefault("tags", {})["request_id"] = request_id.get()
    return event

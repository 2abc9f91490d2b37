"""Waking the workers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Task
from django.db import transaction

from t2isearch.silence import Silence

logger = logging.getLogger(__name__)

_broker = Silence(pause_s=15.0)


def wake(task: Task[Any, Any], *, after: timedelta | None = None) -> None:
    """Send `task` without arguments once the current transaction has committed.

    What is to be done lies in the database already, so a message that cannot be sent costs time and
    nothing else: the next sweep finds the work. Whatever goes wrong with it is logged and never
    raised, as the work is committed by then. One message a transaction is enough, however many
    photos it is about.
    """
    message = _Message(task, after.total_seconds() if after else 0)
    if all(message != waiting for _, waiting, _ in transaction.get_connection().run_on_commit):
        transaction.on_commit(message, robust=True)


@dataclass(frozen=True)
class _Message:
    task: Task[Any, Any]
    countdown_s: float

    def __call__(self) -> None:
        try:
            with _broker.asking():
                self.task.apply_async(countdown=self.countdown_s, retry=False)
        except Exception as error:  # of the transport, of its files, of its configuration
            logger.warning("%s could not be sent, the next sweep will: %r", self.task.name, error)

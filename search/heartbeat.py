"""Celery workers that say they live, so that the console can tell when each was last seen."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

from celery.signals import worker_ready, worker_shutdown
from django.db import DatabaseError, connection
from django.utils import timezone

from search.models import WorkerHeartbeat

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 10.0
# Not seen for so long, a worker counts as gone.
PATIENCE = timedelta(seconds=45)
FORGET_AFTER = timedelta(days=1)

_stop = threading.Event()


def seen_lately(queue: str) -> bool:
    """Whether a worker of `queue` lives."""
    return any(
        queue in beat.queues.split(",")
        for beat in WorkerHeartbeat.objects.filter(seen_at__gte=timezone.now() - PATIENCE)
    )


@worker_ready.connect
def start(sender: Any, **_: Any) -> None:
    queues = sorted(queue.name for queue in sender.task_consumer.queues)
    threading.Thread(
        target=_beat, args=(str(sender.hostname), ",".join(queues)), daemon=True, name="heartbeat"
    ).start()


@worker_shutdown.connect
def stop(**_: Any) -> None:
    _stop.set()


def _beat(name: str, queues: str) -> None:
    while not _stop.is_set():
        now = timezone.now()
        try:
            WorkerHeartbeat.objects.update_or_create(
                name=name, defaults={"queues": queues, "seen_at": now}
            )
            WorkerHeartbeat.objects.filter(seen_at__lt=now - FORGET_AFTER).delete()
        except DatabaseError as error:
            logger.warning("the heartbeat could not be written: %s", error)
        finally:
            # A process that is forked later must not inherit it.
            connection.close()
        _stop.wait(BEAT_EVERY_S)

"""What the towers run on in each process, noted when one is loaded, for the console.

A web process and an indexing worker may be on different machines, with different chips: each says
for itself.
"""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from typing import Any

import psutil
from celery.signals import celeryd_after_setup
from django.db import DatabaseError
from django.dispatch import receiver
from django.utils import timezone

from search.encoders import EncoderInfo, Runtime, tower_loaded
from search.models import LoadedTower

logger = logging.getLogger(__name__)

# A process that was not started anew for so long shows its towers until then.
FORGET_AFTER = timedelta(days=30)

_process = ""


def name_process(name: str) -> None:
    """Say what this process is called in the console. Those without a name are not shown there."""
    global _process
    _process = name


def name_web_process() -> None:
    name_process(f"web@{socket.gethostname()}")


@celeryd_after_setup.connect
def name_worker(sender: str, **_: Any) -> None:
    """Before the worker forks: its processes inherit the name."""
    name_process(sender)


@receiver(tower_loaded, dispatch_uid="search.note_tower")
def note_tower(info: EncoderInfo, part: str, runtime: Runtime, **_: Any) -> None:
    if not _process:
        return
    now = timezone.now()
    try:
        LoadedTower.objects.update_or_create(
            process=_process,
            part=part,
            encoder=info.name,
            defaults={
                "runtime": in_words(runtime),
                "reason": runtime.reason,
                "resident_bytes": psutil.Process().memory_info().rss,
                "loaded_at": now,
            },
        )
        LoadedTower.objects.filter(loaded_at__lt=now - FORGET_AFTER).delete()
    except DatabaseError as error:
        logger.warning("the loaded tower could not be noted: %s", error)


def in_words(runtime: Runtime) -> str:
    return f"{runtime.name} {runtime.precision}, {runtime.device}, {runtime.threads} threads"

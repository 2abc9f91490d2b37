"""Loads the image tower when an indexing worker starts, so that the first upload need not wait."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.signals import celeryd_after_setup, worker_process_init
from django.db import DatabaseError, connection

from search.encoders import EncoderUnavailable, load_image_encoder
from search.models import SearchIndex

logger = logging.getLogger(__name__)

# Set in the worker's main process, before it forks.
_indexes = threading.Event()


@celeryd_after_setup.connect
def note_queues(instance: Any, **_: Any) -> None:
    """Whether this worker takes photos in at all: the others never load a tower."""
    if "index" in instance.app.amqp.queues.consume_from:
        _indexes.set()


@worker_process_init.connect
def load_in_background(**_: Any) -> None:
    """Not in the signal itself: Celery ends a process that takes more than seconds to start."""
    if _indexes.is_set():
        threading.Thread(target=load_active_encoder, name="preload", daemon=True).start()


def load_active_encoder() -> None:
    try:
        index = SearchIndex.objects.active()
        if index is not None:
            load_image_encoder(index.encoder_info)
    except (DatabaseError, EncoderUnavailable) as error:
        logger.warning("the image encoder is not loaded yet: %s", error)
    finally:
        connection.close()

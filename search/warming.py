"""Loading a generation's text tower before searches need it."""

from __future__ import annotations

import logging
import threading
import time

from django.db import connection

from search.encoders import EncoderUnavailable, load_text_encoder
from search.models import SearchIndex
from search.relevance import background

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0

_lock = threading.Lock()
_looked_at = 0.0


def warm_up_next_generation() -> None:
    """Load the text tower of a generation that is being built, in the background.

    With its background queries, so that the first search after the switch waits for neither.
    Called by each search; looks only now and then.
    """
    global _looked_at
    with _lock:
        now = time.monotonic()
        if now - _looked_at < LOOK_EVERY_S:
            return
        _looked_at = now
    for index in SearchIndex.objects.building():
        threading.Thread(target=_load, args=(index,), daemon=True, name="warm-up").start()


def _load(index: SearchIndex) -> None:
    try:
        load_text_encoder(index.encoder_info)
        background(index)
    except EncoderUnavailable as error:
        logger.warning("the text encoder of the generation %s: %s", index.pk, error)
    finally:
        connection.close()

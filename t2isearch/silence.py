"""Services that hang: whoever asks one waits for a time-out, and holds a thread as long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# What fails sooner may be asked again at once: that holds nobody up.
SLOW_S = 0.5


class Silent(Exception):
    """The service has kept somebody waiting in vain a moment ago, and is not asked again yet."""


class Silence:
    """Has one caller find out that a service hangs, and tells it to the others at once.

    After a call that waited in vain nobody asks for `pause_s` seconds. Then one does, while the
    others are told the same until it knows.
    """

    def __init__(self, *, pause_s: float) -> None:
        self._pause_s = pause_s
        self._until: float | None = None
        self._lock = threading.Lock()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """For a call of the service, which raises where there is no answer.

        Raises:
            Silent
        """
        started = time.monotonic()
        with self._lock:
            if self._until is not None:
                if started < self._until:
                    raise Silent
                self._until = started + self._pause_s
        try:
            yield
        except BaseException:
            ended = time.monotonic()
            self._until = ended + self._pause_s if ended - started >= SLOW_S else None
            raise
        self._until = None

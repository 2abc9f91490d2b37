"""When stored files may be removed: not while a backup copies what its rows name.

Both sides hold locks of PostgreSQL (advisory locks, of transactions), which end with the
connection: a backup that is killed holds nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

# The first number tells them from advisory locks of others.
BACKUP_LOCK, REMOVAL_LOCK = (1_952_609_139, 1), (1_952_609_139, 2)


class FilesHeldElsewhere(Exception):
    """Another backup is under way."""


@contextmanager
def removing_files() -> Iterator[bool]:
    """In a transaction of its own; yields whether files may be removed until it ends."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock_shared(%s, %s)", REMOVAL_LOCK)
        (allowed,) = cursor.fetchone()
        yield allowed


@contextmanager
def files_held() -> Iterator[Callable[[], None]]:
    """Have no file removed that a row names now or comes to name, as long as the context lasts.

    Waits for removals that are under way. Yields a function that raises OperationalError where the
    hold was lost; called now and then, it also keeps the connection from looking idle.

    Raises:
        FilesHeldElsewhere
    """
    # Of its own, so that the hold outlasts the transactions of whoever asks for it.
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", BACKUP_LOCK)
            if not cursor.fetchone()[0]:
                raise FilesHeldElsewhere
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", REMOVAL_LOCK)

            def confirm() -> None:
                cursor.execute("SELECT 1")

            yield confirm
    finally:
        holder.close()

"""What can be done with an account."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.contrib.auth import update_session_auth_hash
from django.db import OperationalError, transaction
from django.db.models import Count, F, Sum
from django.http import HttpRequest
from psycopg.errors import DeadlockDetected

from accounts.models import AccessToken, User

logger = logging.getLogger(__name__)

DELETION_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Storage:
    """What a person stores: the number of photos, the bytes of their originals, and the limit."""

    photos: int
    used_bytes: int
    limit_bytes: int | None


def storage_of(*, user: User) -> Storage:
    """What `user` stores, the trash included: it counts against the quota as well."""
    stored = user.photos.aggregate(photos=Count("pk"), used_bytes=Sum("size_bytes", default=0))
    return Storage(
        photos=stored["photos"], used_bytes=stored["used_bytes"], limit_bytes=user.storage_limit
    )


def delete_account(*, user: User) -> None:
    """Delete `user` with all photos and tokens, in one transaction.

    The photos' own receivers see to the files and the vectors once it is committed.
    """
    for attempt in range(1, DELETION_ATTEMPTS + 1):
        try:
            _delete(user)
        except OperationalError as error:
            # Such as a deletion of photos by a worker, which takes them in another order.
            if attempt == DELETION_ATTEMPTS or not isinstance(error.__cause__, DeadlockDetected):
                raise
            logger.warning("user %d was being worked on: deleting once more", user.pk)
        else:
            return


@transaction.atomic
def _delete(user: User) -> None:
    """Take the locks in the order of `t2isearch.conflicts`: the person, albums, photos, uploads.

    Whoever holds the person's row is waited for, and nothing new of theirs begins after that: also
    a row that names them waits for it. Then those are waited for that are at work on one thing.
    """
    User.objects.select_for_update().get(pk=user.pk)
    for things in (user.albums, user.photos, user.partial_uploads):
        list(things.select_for_update().order_by("pk").values_list("pk"))
    user.delete()


def end_password_sign_ins(*, user: User, request: HttpRequest) -> None:
    """End what the password alone has opened: sessions other than that of `request`, and tokens.

    For who changes what signing in takes. Tokens that the person made by themselves stay: making
    one asks for the second step where there is one.
    """
    with transaction.atomic():
        # Locks the row, so that no token is made beside it.
        User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
        AccessToken.objects.owned_by(user).by_password().delete()
    user.refresh_from_db(fields=["session_epoch"])
    update_session_auth_hash(request, user)

"""Access tokens: made, found by their secret, revoked."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.models import AccessToken, Scope, User

logger = logging.getLogger(__name__)

# By which people, and programs that look for secrets in code, know one of ours.
PREFIX = "t2i_"
SHOWN = 12
# Between two notes of when a token was used.
NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and its secret, which is known this once."""

    token: AccessToken
    secret: str


def create_token(
    *, owner: User, name: str, scopes: Iterable[Scope], expires_at: datetime | None = None
) -> NewToken:
    """Make a token for `owner`.

    Raises:
        ValidationError: the person has one of that name, or there are no scopes.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    token = AccessToken(
        owner=owner,
        name=" ".join(name.split()),
        secret_sha256=_hash(secret),
        prefix=secret[:SHOWN],
        scopes=[scope.value for scope in Scope if scope in set(scopes)],
        expires_at=expires_at,
    )
    token.full_clean()
    token.save()
    logger.info("access token %d of user %d was made", token.pk, owner.pk)
    return NewToken(token, secret)


def find_token(secret: str) -> AccessToken | None:
    """The valid token with that secret, with its owner; None when there is none."""
    # By the hash: how long the look-up takes says nothing about the secret.
    found = AccessToken.objects.valid().select_related("owner")
    return found.filter(secret_sha256=_hash(secret)).first()


def note_used(token: AccessToken) -> None:
    """Remember for the owner when the token was last used, to the minute."""
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - NOTED_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke_token(token: AccessToken) -> None:
    """Make a token open nothing any more."""
    logger.info("access token %d of user %d was revoked", token.pk, token.owner_id)
    token.delete()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

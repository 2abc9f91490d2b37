"""Access tokens: made, found by their secret, revoked."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from allauth.mfa.utils import is_mfa_enabled
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.models import AccessToken, Scope, User

logger = logging.getLogger(__name__)

# By which people, and programs that look for secrets in code, know one of ours.
PREFIX = "t2i_"
SHOWN = 12
# Between two notes of when a token was used.
NOTED_EVERY = timedelta(minutes=1)
# Of those that programs get for the password: how long one works, and how many a person has.
PASSWORD_LIFETIME = timedelta(days=90)
MOST_BY_PASSWORD = 10
PASSWORD_NAME = gettext_noop("Signed in with the password")


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
    token = AccessToken(
        owner=owner,
        name=" ".join(name.split()),
        scopes=[scope.value for scope in Scope if scope in set(scopes)],
        expires_at=expires_at,
    )
    return _made(token)


def create_password_token(*, owner: User) -> NewToken:
    """Make a token for who has given the password of `owner`: for everything, with an end.

    Only the hash is kept, so that each call makes another one; the oldest beyond a few go.

    Raises:
        ValidationError: the password alone is not enough for this person.
    """
    with transaction.atomic():
        # One at a time, and none beside the second step being switched on.
        User.objects.select_for_update().get(pk=owner.pk)
        if is_mfa_enabled(owner):
            raise ValidationError(
                _("This account signs in in two steps: a password alone gets no token.")
            )
        new = _made(
            AccessToken(
                owner=owner,
                name=PASSWORD_NAME,
                by_password=True,
                scopes=[scope.value for scope in Scope],
                expires_at=timezone.now() + PASSWORD_LIFETIME,
            )
        )
        owned = AccessToken.objects.owned_by(owner).by_password()
        kept = owned.order_by("-pk").values("pk")[:MOST_BY_PASSWORD]
        owned.exclude(pk__in=kept).delete()
    return new


def _made(token: AccessToken) -> NewToken:
    secret = PREFIX + secrets.token_urlsafe(32)
    token.secret_sha256 = _hash(secret)
    token.prefix = secret[:SHOWN]
    token.full_clean()
    token.save()
    logger.info("access token %d of user %d was made", token.pk, token.owner_id)
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

"""Who a user name or an e-mail address belongs to, and whether the password is theirs."""

from __future__ import annotations

import unicodedata
from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User


def find_account(login: str) -> User | None:
    """The person with that e-mail address or user name, also one who may not sign in.

    The address comes first: who takes another's as a user name gets none of their guesses.
    """
    email = login.strip().lower()
    found = User.objects.filter(Q(email=email) | Q(username__iexact=email))
    return min(found, key=lambda user: user.email != email, default=None)


def account_key(login: str) -> str:
    """What guesses at that name or address are counted under.

    It is the account's own where there is one, so that its name and its address count together.
    """
    user = find_account(login)
    if user is not None:
        return f"account:{user.pk}"
    return f"nobody:{unicodedata.normalize('NFKC', login.strip()).casefold()}"


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]
    """django-allauth's, hashing the password exactly once, whether there is an account or not.

    As it comes it tries the address and the name in turn, and who measures the time learns which
    of the two there are.
    """

    def _authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        login = credentials.get("email") or credentials.get("username") or ""
        found: User | None = self._check_password(find_account(login), credentials["password"])
        return found

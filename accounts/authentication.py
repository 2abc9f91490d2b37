"""How a request of the API says on whose behalf it is made."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import AccessToken, Scope, User
from accounts.tokens import find_token, note_used


class AccessTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer t2i_…` or `Token t2i_…`: either word will do.

    Keys that were given for a password before such tokens had an end (40 digits) are found as well.
    `request.auth` is the `AccessToken`. Its scopes are asked for by `HasScope`.
    """

    def authenticate(self, request: Request) -> tuple[User, AccessToken] | None:
        keyword, _space, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        secret = secret.strip()
        if keyword.lower() not in {"bearer", "token"}:
            return None
        token = find_token(secret)
        if token is None:
            raise AuthenticationFailed(_("This token is wrong, expired or revoked."))
        note_used(token)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """Both ways in; where a bearer token was brought, that it is no good (RFC 6750)."""
        brought = get_authorization_header(request).lower().startswith(b"bearer")
        return 'Bearer error="invalid_token"' if brought else "Token, Bearer"


def allows(auth: object, scope: Scope) -> bool:
    """Whether what somebody signed in with may be used for `scope`.

    Only access tokens are limited.
    """
    return not isinstance(auth, AccessToken) or scope.value in auth.scopes

"""What an access token may be used for."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.authentication import allows
from accounts.models import AccessToken, Scope


class MissingScope(PermissionDenied):
    def __init__(self, scope: Scope) -> None:
        sentence = _("This token may not be used for that: it lacks the scope “%(scope)s”.")
        super().__init__(sentence % {"scope": scope.value}, code="missing_scope")
        self.auth_header = f'Bearer error="insufficient_scope", scope="{scope.value}"'


class HasScope(BasePermission):
    """Each view says by `required_scopes` what its actions (or methods) need of an access token.

    Who signed in by a session may do everything, and a token for the password has all scopes.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, AccessToken):
            scope = required_scope(view, request.method or "")
            if scope is not None and not allows(request.auth, scope):
                raise MissingScope(scope)
        return True


def required_scope(view: Any, method: str) -> Scope | None:
    """The scope for a request to `view`; None where it only learns what may be asked.

    Raises:
        ImproperlyConfigured: nobody said which: it is let in by no access token.
    """
    scopes: dict[str, Scope] = getattr(view, "required_scopes", {})
    if method.lower() not in view.http_method_names:  # 405
        return None
    if hasattr(view, "action_map"):
        action = getattr(view, "action", None)
        if action in {None, "metadata"}:  # 405, or OPTIONS
            return None
    else:
        action = {"head": "get"}.get(method.lower(), method.lower())
        if action == "options" or not hasattr(view, action):
            return None
    if action not in scopes:
        raise ImproperlyConfigured(f"{type(view).__name__} says no scope for “{action}”.")
    return scopes[action]

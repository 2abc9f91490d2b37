"""What follows from changes that people make to how they sign in, on django-allauth's pages."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_reset
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.guesses import forget_guesses
from accounts.models import User
from accounts.services import end_password_sign_ins


@receiver([authenticator_added, authenticator_removed], dispatch_uid="accounts.second_step_changed")
def second_step_changed(
    request: HttpRequest, user: User, authenticator: Authenticator, **_: Any
) -> None:
    """Whoever signed in before did so with less, or with what is gone."""
    # Recovery codes come and go with the others.
    if authenticator.type != Authenticator.Type.RECOVERY_CODES:
        end_password_sign_ins(user=user, request=request)


@receiver(password_reset, dispatch_uid="accounts.password_was_reset")
def password_was_reset(request: HttpRequest, user: User, **_: Any) -> None:
    """Who has the mail is the one: what was guessed at the old password counts no more."""
    forget_guesses(request, action="password", of=f"account:{user.pk}")

"""How django-allauth treats the accounts of this site."""

from __future__ import annotations

import logging
from smtplib import SMTPException
from typing import Any, ClassVar

from allauth.account import app_settings as account_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.app_settings import EmailVerificationMethod
from allauth.account.models import EmailAddress
from allauth.core import context
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.backends import account_key
from accounts.guesses import Guess, count_guess
from accounts.models import User

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    # In the words of this site, and with what to do.
    error_messages: ClassVar[dict[str, Any]] = DefaultAccountAdapter.error_messages | {
        "too_many_login_attempts": _(
            "That was tried too often. Wait a few minutes, then try again."
        ),
    }
    _guess: Guess | None = None

    def validate_unique_email(self, email: str) -> str:
        """At sign-up. django-allauth looks for the lower-case address only, which misses those that
        were entered otherwise (`createsuperuser`) and would end in the database's refusal."""
        hidden = account_settings.EMAIL_VERIFICATION == EmailVerificationMethod.MANDATORY
        if hidden and User.objects.filter(email=email).exists():
            # Answered as if it were new; its owner gets a message instead of a confirmation.
            return email
        if User.objects.filter(email__iexact=email).exists():
            raise self.validation_error("email_taken")
        return email

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        """Only an address that is not the person's own (yet): everybody keeps one."""
        own = email_address.user.email.lower() == email_address.email.lower()
        return not (email_address.primary or own)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("accounts:profile")

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the guess by account and address. django-allauth would by what was typed, and by
        the host that was asked for, which whoever guesses chooses."""
        login = credentials.get("email") or credentials.get("username") or ""
        self._guess = count_guess(request, action="password", of=account_key(login))
        if self._guess is None:
            raise self.validation_error("too_many_login_attempts")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The person with that password, also one who may not sign in, as django-allauth wants it.

        Raises:
            ValidationError: it was tried too often.
        """
        user: User | None = super().authenticate(request, **credentials)
        if user is not None and self._guess is not None:
            self._guess.was_right()
        return user

    def reauthenticate(self, user: User, password: str) -> bool:
        """Whether that is the person's password: one more guess at the same account."""
        found = self.authenticate(context.request, email=user.email, password=password)
        return found is not None and found.pk == user.pk

    def get_client_ip(self, request: HttpRequest) -> str:
        """Who comes past the proxies that are counted on is known by their own address."""
        try:
            return str(super().get_client_ip(request))
        except (ImproperlyConfigured, PermissionDenied):
            return str(request.META.get("REMOTE_ADDR", ""))

    def send_notification_mail(
        self,
        template_prefix: str,
        user: User,
        context: dict[str, Any] | None = None,
        email: str | None = None,
    ) -> None:
        """Tell the person what changed, at the address of accounts too that an administrator made.

        What changed has changed: a mail server that is away is a line in the log.
        """
        try:
            super().send_notification_mail(template_prefix, user, context, email or user.email)
        except (OSError, SMTPException):
            logger.exception("%s could not be sent to user %d", template_prefix, user.pk)

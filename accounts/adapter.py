"""How django-allauth treats the accounts of this site."""

from __future__ import annotations

from allauth.account import app_settings as account_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.app_settings import EmailVerificationMethod
from allauth.account.models import EmailAddress
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
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

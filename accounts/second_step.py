"""django-allauth's forms of two-step sign-in, where they let too much through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as base_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from cryptography.exceptions import InvalidSignature
from django import forms
from django.core.cache import cache

from accounts.models import User


class CodeOnce:
    """An app's code works once, for as long as it would be taken.

    django-allauth remembers it for one period only, and takes the codes of the neighbouring ones.
    """

    user: User

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]
        if self.is_of_app() and not self.use_up(code):
            raise get_adapter().validation_error("incorrect_code")
        return code

    def is_of_app(self) -> bool:
        """Not a recovery code: those are struck out in their own row."""
        authenticator: Authenticator = self.authenticator  # type: ignore[attr-defined]
        return bool(authenticator.type == Authenticator.Type.TOTP)

    def use_up(self, code: str) -> bool:
        periods = 2 * app_settings.TOTP_TOLERANCE + 1
        key = f"totp-used:{self.user.pk}:{normalize_user_code(code)}"
        return cache.add(key, True, timeout=periods * app_settings.TOTP_PERIOD)


class AuthenticateForm(CodeOnce, base_forms.AuthenticateForm):  # type: ignore[misc]
    pass


class ReauthenticateForm(CodeOnce, base_forms.ReauthenticateForm):  # type: ignore[misc]
    pass


class ActivateTOTPForm(CodeOnce, totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    def is_of_app(self) -> bool:
        return True


@contextmanager
def refusing_nonsense() -> Iterator[None]:
    """What is no credential is refused as a wrong one is: parsing it fails in many ways."""
    try:
        yield
    except (
        ArithmeticError, AttributeError, InvalidSignature, LookupError, RecursionError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        raise get_adapter().validation_error("incorrect_code") from error


class CredentialField(forms.JSONField):
    """What a browser's passkey answered: an object, which is never shown again."""

    def to_python(self, value: Any) -> Any:
        with refusing_nonsense():
            credential = super().to_python(value)
            # django-allauth leaves unchecked, and keeps, what is false.
            if not isinstance(credential, dict):
                raise TypeError("an object is expected")
        return credential

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial


class AddWebAuthnForm(webauthn_forms.AddWebAuthnForm):  # type: ignore[misc]
    credential = CredentialField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        with refusing_nonsense():
            cleaned: dict[str, Any] = super().clean()
        return cleaned


class WellFormed(forms.Form):
    credential = CredentialField(widget=forms.HiddenInput)

    def clean_credential(self) -> Authenticator:
        with refusing_nonsense():
            authenticator: Authenticator = super().clean_credential()  # type: ignore[misc]
        return authenticator


class AuthenticateWebAuthnForm(WellFormed, webauthn_forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class ReauthenticateWebAuthnForm(WellFormed, webauthn_forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class LoginWebAuthnForm(WellFormed, webauthn_forms.LoginWebAuthnForm):  # type: ignore[misc]
    pass

"""The forms about an account that are not django-allauth's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import AddEmailForm
from allauth.account.forms import ChangePasswordForm as DefaultChangePasswordForm
from allauth.account.forms import SetPasswordForm as DefaultSetPasswordForm
from allauth.account.internal.flows.manage_email import emit_email_changed
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.models import EmailAddress
from allauth.core import context
from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Scope, User


class ChangeEmailForm(AddEmailForm):  # type: ignore[misc]
    """The new e-mail address of a person.

    A confirmed address is replaced only once the new one is confirmed too: that is django-allauth's
    own way. One that never was, it would remove at once, and leave the person with none while the
    new one waits for its confirmation; so that one is replaced in place here, as at sign-up.
    """

    def clean_email(self) -> str:
        email: str = super().clean_email()
        taken = User.objects.filter(email__iexact=email).exclude(pk=self.user.pk).exists()
        # Waiting for its confirmation elsewhere, it may be another's any moment.
        pending = EmailAddress.objects.filter(email=email).exclude(user=self.user).exists()
        if taken or pending:
            raise get_adapter().validation_error("email_taken")
        return email

    def save(self, request: HttpRequest) -> EmailAddress:
        old = EmailAddress(user=self.user, email=self.user.email)
        if EmailAddress.objects.get_verified(self.user) is not None:
            address: EmailAddress = super().save(request)
            get_adapter().send_notification_mail(
                "account/email/email_change_asked",
                self.user,
                {"from_email": old.email, "to_email": address.email},
            )
            return address
        with transaction.atomic():
            EmailAddress.objects.filter(user=self.user).delete()
            address = EmailAddress.objects.create(
                user=self.user, email=self.cleaned_data["email"], primary=True
            )
            self.user.email = address.email
            self.user.save(update_fields=["email"])
        messages.success(
            request, _("Your email address is %(email)s now.") % {"email": address.email}
        )
        if app_settings.EMAIL_VERIFICATION != app_settings.EmailVerificationMethod.NONE:
            address.send_confirmation(request)
        # Tells the old address.
        emit_email_changed(request, old, address)
        return address


class ChangePasswordForm(DefaultChangePasswordForm):  # type: ignore[misc]
    """Counts the old password as a guess, as wherever else a password is asked for."""

    def clean_oldpassword(self) -> str:
        password: str = self.cleaned_data["oldpassword"]
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("enter_current_password")
        return password


class SetPasswordForm(DefaultSetPasswordForm):  # type: ignore[misc]
    """The first password of who has none, as all that changes how one signs in: not for who only
    came by an open session. django-allauth asks for no more than that here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise_if_reauthentication_required(context.request, app="allauth.account")
        super().__init__(*args, **kwargs)


class DeleteAccountForm(forms.Form):
    """Asks for the password once more, since there is no way back.

    Who has none has proved by the second step who they are, before the form is shown.
    """

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        self.user = user
        super().__init__(*args, **kwargs)
        if not user.has_usable_password():
            del self.fields["password"]

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("incorrect_password")
        return password


class AccessTokenForm(forms.Form):
    """What a new access token is called, what it may be used for and for how long."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        help_text=gettext_lazy("What it is for, such as “Camera upload on the phone”."),
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("It may"), choices=Scope.choices, widget=forms.CheckboxSelectMultiple
    )
    days = forms.TypedChoiceField(
        label=gettext_lazy("It works"),
        required=False,
        coerce=int,
        empty_value=None,
        initial="90",
        choices=[
            ("30", gettext_lazy("for 30 days")),
            ("90", gettext_lazy("for 90 days")),
            ("365", gettext_lazy("for a year")),
            ("", gettext_lazy("until it is revoked")),
        ],
    )

    @property
    def chosen_scopes(self) -> list[Scope]:
        return [Scope(value) for value in self.cleaned_data["scopes"]]

    @property
    def expires_at(self) -> datetime | None:
        days: Any = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from gallery.albums import clean_title


class AlbumForm(forms.Form):
    """The title of a new album, or a new title."""

    title = forms.CharField(
        label=_("Title"), max_length=200, widget=forms.TextInput({"autocomplete": "off"})
    )

    def clean_title(self) -> str:
        return clean_title(self.cleaned_data["title"])


class ShareForm(forms.Form):
    """How long a link leads somewhere, and the password that it asks for."""

    days = forms.TypedChoiceField(
        label=_("The link works"),
        required=False,
        coerce=int,
        empty_value=None,
        choices=[
            ("", _("until it is closed")),
            ("1", _("for a day")),
            ("7", _("for a week")),
            ("30", _("for 30 days")),
            ("365", _("for a year")),
        ],
    )
    password = forms.CharField(
        label=_("Password (if wanted)"),
        required=False,
        min_length=6,
        max_length=128,
        strip=False,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )

    @property
    def expires_at(self) -> datetime | None:
        days: Any = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None


class SharePasswordForm(forms.Form):
    """The password of a link that somebody opens."""

    password = forms.CharField(
        label=_("Password"),
        max_length=128,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "off", "autofocus": True}),
    )

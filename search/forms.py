from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from search.encoders import DEFAULT_CLIP, STARTER
from search.models import SearchIndex, SearchIndexQuerySet
from search.reindexing import ALL, FAILED


class BuildForm(forms.Form):
    """Which encoder to build a generation with."""

    SUGGESTIONS = (STARTER, DEFAULT_CLIP)

    encoder = forms.CharField(
        label=_("Encoder"),
        max_length=300,
        help_text=_(
            "A model's name on the hub (“owner/model”, “@revision” may follow), a folder, or "
            "“starter”."
        ),
        widget=forms.TextInput(
            attrs={
                "list": "encoder-suggestions",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )
    activate_when_complete = forms.BooleanField(
        label=_("Activate it as soon as every photo is in it"), required=False
    )


class OwnerField(forms.CharField):
    """A person by user name; None when left empty."""

    def clean(self, value: Any) -> User | None:
        name = super().clean(value)
        if not name:
            return None
        owner = User.objects.filter(username__iexact=name).first()
        if owner is None:
            raise forms.ValidationError(_("There is no user of this name."), code="unknown")
        return owner


class GenerationForm(forms.Form):
    """Chooses one of the generations that are kept; the active one unless another is chosen."""

    index = forms.ModelChoiceField(SearchIndex.objects.none(), label=_("Generation"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["index"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = self.generations()
            field.empty_label = None
        self.initial.setdefault("index", SearchIndex.objects.active())

    def generations(self) -> SearchIndexQuerySet:
        return SearchIndex.objects.kept()


class ReindexForm(GenerationForm):
    """Which photos to embed again."""

    MISSING = "missing"

    scope = forms.ChoiceField(
        label=_("Photos"),
        choices=[
            (MISSING, _("What Milvus has not, when asked")),
            (FAILED, _("What failed")),
            (ALL, _("All")),
        ],
    )
    owner = OwnerField(label=_("Of one person"), required=False, help_text=_("A user name."))

    def generations(self) -> SearchIndexQuerySet:
        return SearchIndex.objects.living()


class VerifyForm(GenerationForm):
    """What to compare, and whether to mend what differs."""

    owner = OwnerField(label=_("Of one person"), required=False, help_text=_("A user name."))
    repair = forms.BooleanField(label=_("Repair what differs"), required=False)


class RefillForm(GenerationForm):
    """Which collection to fill from the embeddings that PostgreSQL keeps."""

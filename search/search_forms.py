from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from gallery.models import Album
from search.planning import (
    FAVOURITE,
    TYPES,
    Filter,
    FilterKind,
    Part,
    PhotoTerm,
    Plan,
    QueryError,
    TextTerm,
    date_filter,
    parse,
    until,
)
from search.query import LONGEST_OFFSET, Order
from t2isearch.requests import LARGEST_KEY

LONGEST_QUERY = 500
MOST_RESULTS = 200
# How many results a page that is come back to shows at once.
MOST_SHOWN = 1000


class SearchForm(forms.Form):
    """What can be asked of the search, in the page and in the API alike. Days are whole ones.

    `plan` is all of it together: what `q` says, and what the other fields add.
    """

    q = forms.CharField(label=_("Search"), max_length=LONGEST_QUERY, required=False)
    photo = forms.IntegerField(min_value=1, max_value=LARGEST_KEY, required=False)
    taken_after = forms.DateField(required=False)
    taken_before = forms.DateField(required=False)
    limit = forms.IntegerField(min_value=1, max_value=MOST_RESULTS, required=False)
    offset = forms.IntegerField(min_value=0, max_value=LONGEST_OFFSET, required=False)
    cursor = forms.CharField(max_length=1000, required=False)
    order = forms.ChoiceField(
        choices=[(Order.RELEVANCE, _("Best match first")), (Order.DATE, _("Newest first"))],
        required=False,
    )
    weak = forms.BooleanField(required=False)
    shown = forms.IntegerField(min_value=1, max_value=MOST_SHOWN, required=False)

    plan = Plan()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        after, before = cleaned.get("taken_after"), cleaned.get("taken_before")
        if after and before and before < after:
            self.add_error("taken_before", _("This day must not be before the first one."))
        if "q" in cleaned:
            try:
                asked = parse(cleaned["q"])
            except QueryError as error:
                self.add_error("q", str(error))
            else:
                self.plan = asked.with_parts(*_parts(cleaned.get("photo"), after, before))
        cleaned["order"] = Order(cleaned.get("order") or Order.RELEVANCE)
        return cleaned


def _parts(photo_id: int | None, after: date | None, before: date | None) -> list[Part]:
    parts: list[Part] = []
    if photo_id:
        parts.append(PhotoTerm(photo_id))
    if after:
        parts.append(date_filter(FilterKind.AFTER, after))
    if before and (last := until(before)):
        parts.append(last)
    return parts


def _date_input() -> forms.DateInput:
    """A browser's own field, which takes its value in ISO 8601 whatever the language."""
    return forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})


class DetailsForm(forms.Form):
    """The details panel: the common parts of the language as fields, written back as a query."""

    # What it has no field for: more terms, and filters that are said twice or turned around.
    rest = forms.CharField(max_length=LONGEST_QUERY, required=False, widget=forms.HiddenInput)
    words = forms.CharField(label=_("What is to be seen"), max_length=LONGEST_QUERY, required=False)
    without = forms.CharField(label=_("Not like"), max_length=100, required=False)
    after = forms.DateField(label=_("Taken from"), required=False, widget=_date_input())
    up_to = forms.DateField(label=_("Taken until"), required=False, widget=_date_input())
    album = forms.ChoiceField(label=_("In the album"), required=False)
    type = forms.ChoiceField(
        label=_("File type"),
        choices=[
            ("", _("Any type")),
            *((name, name.upper()) for name in sorted(set(TYPES.values()))),
        ],
        required=False,
    )
    camera = forms.CharField(label=_("Camera"), max_length=100, required=False)
    name = forms.CharField(label=_("File name"), max_length=100, required=False)
    favourites = forms.BooleanField(label=_("Only favourites"), required=False)

    def __init__(self, owner: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        titles = Album.objects.owned_by(owner).order_by("title").values_list("title", flat=True)
        album = self.fields["album"]
        assert isinstance(album, forms.ChoiceField)  # noqa: S101 - it is declared above
        album.choices = [("", _("Any album")), *((title, title) for title in titles)]

    @classmethod
    def showing(cls, owner: User, plan: Plan) -> DetailsForm:
        """The panel for a plan."""
        values: dict[str, Any] = {}
        rest: list[Part] = []
        for part in plan.parts:
            name, value = _field_of(part)
            if name is None or name in values:
                rest.append(part)
            else:
                values[name] = value
        return cls(owner, initial=values | {"rest": str(Plan().with_parts(*rest))})

    @property
    def plan(self) -> Plan:
        """What the fields say, for a valid form."""
        values = self.cleaned_data
        parts: list[Part] = []
        if words := values["words"]:
            parts.append(TextTerm(" ".join(words.split())))
        if without := values["without"]:
            parts.append(TextTerm(" ".join(without.split()), -1.0))
        if values["after"]:
            parts.append(date_filter(FilterKind.AFTER, values["after"]))
        if values["up_to"] and (last := until(values["up_to"])):
            parts.append(last)
        if values["favourites"]:
            parts.append(Filter(FilterKind.IS, FAVOURITE))
        kinds = (FilterKind.ALBUM, FilterKind.TYPE, FilterKind.CAMERA, FilterKind.NAME)
        said = ((kind, " ".join(values[kind].split())) for kind in kinds)
        parts += [Filter(kind, value) for kind, value in said if value]
        try:
            rest = parse(values["rest"])
        except QueryError:
            rest = Plan()
        return Plan().with_parts(*parts, *rest.parts)


def _field_of(part: Part) -> tuple[str | None, Any]:
    """The field of the panel that can say `part`, and its value there."""
    match part:
        case TextTerm(text=text, weight=1.0):
            return "words", text
        case TextTerm(text=text, weight=-1.0):
            return "without", text
        case Filter(kind=FilterKind.AFTER):
            return "after", part.first_day
        case Filter(kind=FilterKind.BEFORE):
            return "up_to", part.day_before
        case Filter(kind=FilterKind.IS, negated=False):
            return "favourites", True
        case Filter(kind=kind, value=value, negated=False):
            return str(kind), value
    return None, None


class SaveSearchForm(forms.Form):
    name = forms.CharField(max_length=100)
    query = forms.CharField(max_length=LONGEST_QUERY)
    by_date = forms.BooleanField(required=False)

    def clean_query(self) -> str:
        """As it is written canonically."""
        try:
            plan = parse(self.cleaned_data["query"])
        except QueryError as error:
            raise forms.ValidationError(str(error)) from error
        if not plan:
            raise forms.ValidationError(_("Say what to look for."))
        if plan.image_ids:
            raise forms.ValidationError(
                _("A search by a picture can't be saved: the picture is not kept.")
            )
        return str(plan)

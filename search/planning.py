"""The language of the search box: what is typed there, read as a plan.

Its grammar is in docs/search.md. Plain words stay one text; operators are read only where they are
clearly meant, so that `black-and-white dog`, `2:1` and `note: buy milk` are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from django.utils import timezone
from django.utils.translation import gettext as _

from t2isearch.requests import LARGEST_KEY

MOST_TERMS = 16
MOST_WEIGHT = 100

_QUOTES = {'"': '"', "“": "”", "„": "“”", "”": "”"}
_SIGNS = {"+": 1, "-": -1, "−": -1}
_WEIGHT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?|\.[0-9]{1,3}):")
_WEIGHT_WORDS = {"more": 2.0, "slightly": 0.5, "not": -1.0}
_WORD_KEY = re.compile(r"([a-z]{2,9}):", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?(?:-([0-9]{2}))?")
_KEY = re.compile(r"[0-9]{1,19}")

# What `type:` names, as the end of a media type.
TYPES = {
    "avif": "avif",
    "bmp": "bmp",
    "gif": "gif",
    "heic": "heic",
    "heif": "heic",
    "jpeg": "jpeg",
    "jpg": "jpeg",
    "png": "png",
    "tif": "tiff",
    "tiff": "tiff",
    "webp": "webp",
}


class QueryError(ValueError):
    """A query that can't be read: one sentence that says where, and the place in the text.

    `position` counts characters from 0; `length` is that of the part that is wrong.
    """

    def __init__(self, reason: str, text: str, position: int, end: int) -> None:
        self.position = position
        self.length = max(1, end - position)
        self.reason = reason
        part = text[position:end]
        if len(part) > 40:
            part = part[:39] + "…"
        super().__init__(
            _("At character %(position)d (%(part)s): %(reason)s")
            % {"position": position + 1, "part": part, "reason": reason}
        )


@dataclass(frozen=True, slots=True)
class TextTerm:
    """Words that a photo is to be like; less than 0 of them: unlike."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PhotoTerm:
    """A photo of the person's own that others are to be like."""

    photo_id: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ImageTerm:
    """A picture that was dropped into the box (`ImageQuery`)."""

    image_id: int
    weight: float = 1.0


Term = TextTerm | PhotoTerm | ImageTerm


class FilterKind(StrEnum):
    AFTER = "after"
    BEFORE = "before"
    ALBUM = "album"
    IS = "is"
    CAMERA = "camera"
    TYPE = "type"
    NAME = "name"


FAVOURITE = "favourite"
_IS = {FAVOURITE: FAVOURITE, "favorite": FAVOURITE}


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that a photo meets or, `negated`, does not.

    The value of `after` and `before` is a year, a month or a day as ISO 8601 writes it.
    """

    kind: FilterKind
    value: str
    negated: bool = False

    @property
    def first_day(self) -> date:
        """The first day of the year or month, or the day itself, of a date filter."""
        return _first_day(self.value)

    @property
    def day_before(self) -> date | None:
        """The last day that `before` lets through; None where there is none."""
        first = self.first_day
        return first - timedelta(days=1) if first > date.min else None


Part = Term | Filter


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for: terms, which make the query vector, and filters.

    `str(plan)` is the plan in the language again: it reads as the same plan.
    """

    terms: tuple[Term, ...] = ()
    filters: tuple[Filter, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms or self.filters)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.terms, *self.filters)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(term.text for term in self.terms if isinstance(term, TextTerm))

    @property
    def wished_texts(self) -> tuple[str, ...]:
        """Those that photos are to be like."""
        return tuple(
            term.text for term in self.terms if isinstance(term, TextTerm) and term.weight > 0
        )

    @property
    def photo_ids(self) -> tuple[int, ...]:
        """The photos among the terms; none of them is an answer to itself."""
        return tuple(term.photo_id for term in self.terms if isinstance(term, PhotoTerm))

    @property
    def image_ids(self) -> tuple[int, ...]:
        return tuple(term.image_id for term in self.terms if isinstance(term, ImageTerm))

    @property
    def is_wish(self) -> bool:
        """Whether it says what to look for, and not only what to avoid."""
        return any(term.weight > 0 for term in self.terms)

    @property
    def taken_after(self) -> datetime | None:
        """The first moment that is asked for, aware."""
        days = [each.first_day for each in self._of(FilterKind.AFTER)]
        return _start_of(max(days)) if days else None

    @property
    def taken_before(self) -> datetime | None:
        """The first moment after what is asked for, aware."""
        days = [each.first_day for each in self._of(FilterKind.BEFORE)]
        return _start_of(min(days)) if days else None

    @property
    def changing_filters(self) -> tuple[Filter, ...]:
        """Those that PostgreSQL has to answer, because Milvus does not hold what changes."""
        dates = {FilterKind.AFTER, FilterKind.BEFORE}
        return tuple(each for each in self.filters if each.kind not in dates)

    def without(self, part: Part) -> Plan:
        """The plan without the first such part."""
        terms, filters = list(self.terms), list(self.filters)
        if isinstance(part, Filter):
            filters.remove(part)
        else:
            terms.remove(part)
        return Plan(tuple(terms), tuple(filters))

    def with_parts(self, *parts: Part) -> Plan:
        """The plan with more parts; those that are there already are not added again."""
        terms, filters = list(self.terms), list(self.filters)
        for part in parts:
            if isinstance(part, Filter):
                if part not in filters:
                    filters.append(part)
            elif part not in terms:
                terms.append(part)
        return Plan(tuple(terms), tuple(filters))

    def _of(self, kind: FilterKind) -> Iterator[Filter]:
        return (each for each in self.filters if each.kind == kind)

    def __str__(self) -> str:
        filters = [_written_filter(each) for each in self.filters]
        match self.terms:
            case (TextTerm(text=text, weight=1.0),):
                plain = " ".join([text, *filters])
                if _reads_as(plain, self):
                    return plain
        terms: list[str] = []
        for term in self.terms:
            written = _written_term(term)
            if terms:
                terms.append("-" if term.weight < 0 else "+")
            elif term.weight < 0:
                written = f"-{written}"
            terms.append(written)
        return " ".join([*terms, *filters])


def parse(text: str) -> Plan:
    """Read a query.

    Raises:
        QueryError: and nothing else, whatever the text.
    """
    return _Reader(text).plan()


def date_filter(kind: FilterKind, day: date) -> Filter:
    return Filter(kind, day.isoformat())


def until(day: date) -> Filter | None:
    """The filter for photos taken up to the end of `day`; None for the last day there is."""
    if day == date.max:
        return None
    return date_filter(FilterKind.BEFORE, day + timedelta(days=1))


def _start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def _first_day(value: str) -> date:
    """Raises ValueError for what is no year, month or day."""
    found = _DATE.fullmatch(value)
    if found is None:
        raise ValueError(value)
    year, month, day = found.groups()
    return date(int(year), int(month or 1), int(day or 1))


# Writing


def _reads_as(text: str, plan: Plan) -> bool:
    try:
        return parse(text) == plan
    except QueryError:
        return False


def _written_term(term: Term) -> str:
    """Without its sign."""
    weight = abs(term.weight)
    prefix = "" if weight == 1 else f"{weight:g}:"
    match term:
        case PhotoTerm(photo_id=key):
            return f"{prefix}photo:{key}"
        case ImageTerm(image_id=key):
            return f"{prefix}image:{key}"
        case TextTerm(text=words):
            word = f"{prefix}{words}"
            if prefix and _reads_as(word, Plan((TextTerm(words, weight),))):
                return word
            return prefix + _quoted(words)


def _written_filter(each: Filter) -> str:
    sign = "-" if each.negated else ""
    plain = f"{sign}{each.kind}:{each.value}"
    if _reads_as(plain, Plan(filters=(each,))):
        return plain
    return f"{sign}{each.kind}:{_quoted(each.value)}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# Reading


@dataclass(frozen=True, slots=True)
class _Word:
    """A word that is nothing but a word."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Sign:
    """A plus or a minus with a space behind it."""

    sign: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Explicit:
    """A term or a filter that can be nothing else; `sign` is 0 where none is written."""

    part: Part
    sign: int
    start: int
    end: int


_Token = _Word | _Sign | _Explicit


class _Reader:
    def __init__(self, text: str) -> None:
        # What is no character for PostgreSQL separates words.
        self._text = text.replace("\x00", " ")
        self._tokens = list(self._scan())

    def plan(self) -> Plan:
        terms: list[Term | None] = []
        filters: list[Filter] = []
        plain: list[str] = []
        place: int | None = None
        tokens = self._tokens
        index = 0
        while index < len(tokens):
            token = tokens[index]
            index += 1
            sign = 0
            if isinstance(token, _Sign) and self._is_operator(index - 1):
                sign = token.sign
                if index == len(tokens):
                    raise self._error(_("something has to follow it."), token.start, token.end)
                following = tokens[index]
                if isinstance(following, _Word):
                    words = []
                    while index < len(tokens) and isinstance(word := tokens[index], _Word):
                        words.append(word.text)
                        index += 1
                    terms.append(TextTerm(" ".join(words), float(sign)))
                    continue
                if isinstance(following, _Sign) or following.sign:
                    raise self._error(_("one plus or minus is enough."), token.start, following.end)
                token = following
                index += 1
            if isinstance(token, _Explicit):
                part = self._signed(token, sign or token.sign)
                if isinstance(part, Filter):
                    if part not in filters:
                        filters.append(part)
                else:
                    terms.append(part)
            else:
                if place is None:
                    place = len(terms)
                    terms.append(None)
                plain.append(self._text[token.start : token.end])
        found = tuple(TextTerm(" ".join(plain)) if term is None else term for term in terms)
        if len(found) > MOST_TERMS:
            raise self._error(
                _("that is more than %(most)d words, photos and pictures to weigh up.")
                % {"most": MOST_TERMS},
                0,
                len(self._text),
            )
        return Plan(found, tuple(filters))

    def _is_operator(self, index: int) -> bool:
        """Whether a plus or minus that stands alone is next to what is no plain word."""
        before = self._tokens[index - 1] if index else None
        after = self._tokens[index + 1] if index + 1 < len(self._tokens) else None
        if isinstance(after, _Explicit):
            return True
        return isinstance(before, _Explicit) and not isinstance(before.part, Filter)

    def _signed(self, token: _Explicit, sign: int) -> Part:
        part = token.part
        if sign >= 0:
            return part
        if not isinstance(part, Filter):
            return replace(part, weight=-part.weight)
        if part.kind in {FilterKind.AFTER, FilterKind.BEFORE}:
            raise self._error(
                _("a minus can't go before a day: use “after:” and “before:” the other way round."),
                token.start,
                token.end,
            )
        return replace(part, negated=True)

    def _error(self, reason: str, start: int, end: int) -> QueryError:
        return QueryError(reason, self._text, start, end)

    def _scan(self) -> Iterator[_Token]:
        text, position = self._text, 0
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            token = self._token_at(position)
            yield token
            position = token.end

    def _token_at(self, start: int) -> _Token:
        text = self._text
        position, sign = start, 0
        if text[position] in _SIGNS:
            sign = _SIGNS[text[position]]
            position += 1
            if position == len(text) or text[position].isspace():
                return _Sign(sign, start, position)
        weight_at, weight = position, 1.0
        weighted = False
        if (number := _WEIGHT.match(text, position)) and self._can_be_weighed(number.end()):
            weight, position, weighted = float(number[1]), number.end(), True
            if not 0 < weight <= MOST_WEIGHT:
                raise self._error(
                    _("a weight is more than 0 and at most %(most)d.") % {"most": MOST_WEIGHT},
                    weight_at,
                    position,
                )
        elif (
            (word := _WORD_KEY.match(text, position))
            and (factor := _WEIGHT_WORDS.get(word[1].lower())) is not None
            and self._can_be_weighed(word.end())
        ):
            weight, position, weighted = factor, word.end(), True
        if text[position] in _QUOTES:
            value, end = self._quotation(position)
            if not value:
                raise self._error(_("there is nothing between the quotes."), position, end)
            return _Explicit(TextTerm(value, weight), sign, start, end)
        if (key := self._keyed(position, start, weight, weighted=weighted)) is not None:
            part, end = key
            return _Explicit(part, sign, start, end)
        end = self._end_of_word(position)
        if weighted or (sign and text[position].isalpha()):
            return _Explicit(TextTerm(text[position:end], weight), sign, start, end)
        return _Word(text[start:end], start, end)

    def _can_be_weighed(self, position: int) -> bool:
        """Whether a weight before this place would be one: before quotes or a letter."""
        if position >= len(self._text):
            return False
        return self._text[position] in _QUOTES or self._text[position].isalpha()

    def _end_of_word(self, position: int) -> int:
        while position < len(self._text) and not self._text[position].isspace():
            position += 1
        return position

    def _quotation(self, start: int) -> tuple[str, int]:
        """What stands between the quotes, spaces run together, and where it ends."""
        closing = _QUOTES[self._text[start]]
        characters: list[str] = []
        position = start + 1
        while position < len(self._text):
            character = self._text[position]
            if character == "\\" and self._text[position + 1 : position + 2] in {"\\", '"'}:
                characters.append(self._text[position + 1])
                position += 2
                continue
            position += 1
            if character in closing:
                return " ".join("".join(characters).split()), position
            characters.append(character)
        raise self._error(_("the closing quote is missing."), start, len(self._text))

    def _keyed(
        self, position: int, start: int, weight: float, *, weighted: bool
    ) -> tuple[Part, int] | None:
        """The photo, picture or filter that `key:value` names, and where it ends."""
        found = _WORD_KEY.match(self._text, position)
        if found is None:
            return None
        key, at = found[1].lower(), found.end()
        if at == len(self._text) or self._text[at].isspace():
            return None
        if key not in {"photo", "image", *FilterKind}:
            return None
        if self._text[at] in _QUOTES:
            value, end = self._quotation(at)
        else:
            end = self._end_of_word(at)
            value = self._text[at:end]
        if key in {"photo", "image"}:
            number = int(value) if _KEY.fullmatch(value) else 0
            if not 0 < number <= LARGEST_KEY:
                raise self._error(
                    _("a number has to follow “%(key)s:”.") % {"key": key}, start, end
                )
            term = PhotoTerm if key == "photo" else ImageTerm
            return term(number, weight), end
        if weighted:
            raise self._error(
                _("a weight goes with words or a photo, and a filter has none."), start, end
            )
        return Filter(FilterKind(key), self._filter_value(key, value, start, end)), end

    def _filter_value(self, key: str, value: str, start: int, end: int) -> str:
        match key:
            case FilterKind.AFTER | FilterKind.BEFORE:
                try:
                    _first_day(value)
                except ValueError:
                    reason = _("a day is written as 2024, 2024-05 or 2024-05-17.")
                    raise self._error(reason, start, end) from None
                return value
            case FilterKind.IS:
                if (known := _IS.get(value.lower())) is None:
                    raise self._error(_("only “is:favourite” is known."), start, end)
                return known
            case FilterKind.TYPE:
                if (named := TYPES.get(value.lower())) is None:
                    raise self._error(
                        _("the types are %(types)s.")
                        % {"types": ", ".join(sorted(set(TYPES.values())))},
                        start,
                        end,
                    )
                return named
        if not value:
            raise self._error(_("there is nothing between the quotes."), start, end)
        return value

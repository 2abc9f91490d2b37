from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.planning import (
    Filter,
    FilterKind,
    ImageTerm,
    PhotoTerm,
    Plan,
    QueryError,
    TextTerm,
    parse,
    until,
)


@pytest.mark.parametrize(
    "text",
    [
        "a dog",
        "black-and-white dog",
        "2:1",
        "a 16:9 screen at 10:30",
        "note: buy milk",
        "rock 'n' roll",
        'a 5" pipe',
        "mother - daughter",
        "C++ - a book",
        "-5 degrees",
        "photo: a dog",
        "https://example.com/?q=1",
        "a + b",
        "2024:beach",
        "你好",
        "+",
        "-",
        "is: it art?",
        "a\\b",
    ],
)
def test_plain_words_are_one_text(text: str) -> None:
    plan = parse(text)
    assert plan == Plan((TextTerm(text),))
    assert str(plan) == text


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("  a \n dog ", [TextTerm("a dog")]),
        ('"a dog" + "at night"', [TextTerm("a dog"), TextTerm("at night")]),
        ('"a dog" "at night"', [TextTerm("a dog"), TextTerm("at night")]),
        ('"a dog" - "a leash"', [TextTerm("a dog"), TextTerm("a leash", -1)]),
        ('"a dog"-"a leash"', [TextTerm("a dog"), TextTerm("a leash", -1)]),
        ('"a dog" − a long leash', [TextTerm("a dog"), TextTerm("a long leash", -1)]),
        ("a dog -leash", [TextTerm("a dog"), TextTerm("leash", -1)]),
        ("2:beach 0.5:dog", [TextTerm("beach", 2), TextTerm("dog", 0.5)]),
        ("more:beach slightly:dog not:people",
         [TextTerm("beach", 2), TextTerm("dog", 0.5), TextTerm("people", -1)]),
        ('a walk 2:"red car" home', [TextTerm("a walk home"), TextTerm("red car", 2)]),
        ("photo:12 + at night", [PhotoTerm(12), TextTerm("at night")]),
        ("photo:1 photo:2 -photo:5", [PhotoTerm(1), PhotoTerm(2), PhotoTerm(5, -1)]),
        ("0.5:photo:7 -2:photo:8", [PhotoTerm(7, 0.5), PhotoTerm(8, -2)]),
        ("image:3 + “smart quotes”", [ImageTerm(3), TextTerm("smart quotes")]),
        (r'"say \"hi\" \\ there"', [TextTerm(r'say "hi" \ there')]),
    ],
)  # fmt: skip
def test_terms(text: str, terms: list[TextTerm]) -> None:
    assert list(parse(text).terms) == terms
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("after:2024", [Filter(FilterKind.AFTER, "2024")]),
        ("before:2024-05", [Filter(FilterKind.BEFORE, "2024-05")]),
        ("After:2024-05-17", [Filter(FilterKind.AFTER, "2024-05-17")]),
        ('album:"Summer at sea"', [Filter(FilterKind.ALBUM, "Summer at sea")]),
        ("album:Summer -album:2023", [
            Filter(FilterKind.ALBUM, "Summer"), Filter(FilterKind.ALBUM, "2023", negated=True)]),
        ("is:favorite is:favourite", [Filter(FilterKind.IS, "favourite")]),
        ("type:JPG", [Filter(FilterKind.TYPE, "jpeg")]),
        ('camera:"Pixel 9" name:IMG_', [
            Filter(FilterKind.CAMERA, "Pixel 9"), Filter(FilterKind.NAME, "IMG_")]),
    ],
)  # fmt: skip
def test_filters(text: str, filters: list[Filter]) -> None:
    assert parse(text) == Plan((), tuple(filters))
    with_words = parse(f"a dog {text} outside")
    assert with_words == Plan((TextTerm("a dog outside"),), tuple(filters))
    assert parse(str(with_words)) == with_words


@pytest.mark.parametrize(
    ("text", "position", "length", "reason"),
    [
        ('a dog "at night', 6, 9, "the closing quote is missing"),
        ("a dog after:soon", 6, 10, "2024-05-17"),
        ("after:2024-02-30", 0, 16, "2024-05-17"),
        ("cat -before:2024", 4, 12, "other way round"),
        ("is:cute", 0, 7, "is:favourite"),
        ("type:word", 0, 9, "avif, bmp"),
        ("photo:x", 0, 7, "a number"),
        ("photo:99999999999999999999", 0, 26, "a number"),
        ("0:dog", 0, 2, "a weight"),
        ("500:dog", 0, 4, "a weight"),
        ("2:after:2024", 0, 12, "a filter has none"),
        ('"dog" + ', 6, 1, "something has to follow"),
        ('"dog" - -"cat"', 6, 8, "one plus or minus"),
        ('cat ""', 4, 2, "nothing between the quotes"),
        ('album:""', 0, 8, "nothing between the quotes"),
        (" ".join(["2:a"] * 17), 0, 67, "more than 16"),
    ],
)
def test_a_bad_query_says_where(text: str, position: int, length: int, reason: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert (caught.value.position, caught.value.length) == (position, length)
    assert reason in str(caught.value)
    assert f"At character {position + 1} (" in str(caught.value)


def test_dates_narrow_down() -> None:
    plan = parse("after:2023 after:2024-05 before:2025 before:2026-01-01")
    assert plan.taken_after is not None
    assert plan.taken_before is not None
    assert plan.taken_after.date() == date(2024, 5, 1)
    assert plan.taken_before.date() == date(2025, 1, 1)
    assert until(date(2024, 12, 31)) == Filter(FilterKind.BEFORE, "2025-01-01")
    assert until(date.max) is None


def test_parts_can_be_taken_out() -> None:
    plan = parse('a dog after:2024 -photo:5 album:"x y"')
    assert [str(plan.without(part)) for part in plan.parts] == [
        '-photo:5 after:2024 album:"x y"',
        'a dog after:2024 album:"x y"',
        '"a dog" - photo:5 album:"x y"',
        '"a dog" - photo:5 after:2024',
    ]


pieces = st.sampled_from(
    ['"', "“", "”", "„", "+", "-", "−", " ", "  ", "\\", ":", "2:", "0.5:", ".5:", "0:", "photo:",
     "image:7", "photo:12", "after:", "after:2024", "before:2024-05", "album:", "is:favourite",
     "type:png", "name:", "camera:", "more:", "not:", "slightly:", "a", "dog", "犬", "\x00", "\n"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(pieces, max_size=14).map("".join))


@given(texts)
def test_every_text_is_read_or_refused_with_a_place(text: str) -> None:
    plan, problem = read(text)
    if problem is not None:
        assert 0 <= problem.position < max(1, len(text))
        assert problem.position + problem.length <= max(1, len(text))
    else:
        assert parse(str(plan)) == plan


def read(text: str) -> tuple[Plan, QueryError | None]:
    try:
        return parse(text), None
    except QueryError as error:
        return Plan(), error


words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)
quotable = words.map(lambda text: " ".join(text.split())).filter(bool)
weights = st.integers(1, 100_000).map(lambda number: number / 1000)
signed = st.builds(lambda weight, sign: weight * sign, weights, st.sampled_from([1, -1]))
keys = st.integers(1, 2**63 - 1)
terms = st.one_of(
    st.builds(TextTerm, quotable, signed),
    st.builds(TextTerm, quotable),
    st.builds(PhotoTerm, keys, signed),
    st.builds(ImageTerm, keys, signed),
)
filters = st.one_of(
    st.builds(
        Filter,
        st.sampled_from([FilterKind.ALBUM, FilterKind.CAMERA, FilterKind.NAME]),
        quotable,
        st.booleans(),
    ),
    st.builds(Filter, st.just(FilterKind.TYPE), st.sampled_from(["jpeg", "heic"]), st.booleans()),
    st.builds(
        Filter,
        st.sampled_from([FilterKind.AFTER, FilterKind.BEFORE]),
        st.dates().map(lambda day: day.isoformat()),
    ),
)
plans = st.builds(
    Plan,
    st.lists(terms, max_size=5).map(tuple),
    st.lists(filters, max_size=4, unique=True).map(tuple),
)


@given(plans)
def test_a_plan_reads_as_it_is_written(plan: Plan) -> None:
    assert parse(str(plan)) == plan

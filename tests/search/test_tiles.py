"""Results as their tiles show them."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from accounts.models import User
from gallery.models import Photo
from search.query import Result
from search.tiles import Tile, tiles_of


def photo(**values: object) -> Photo:
    shown = {"width": 4032, "height": 3024, "thumbnail": "t.jpg", "filename": "a <b> & c.jpg"}
    sizes = {"thumbnail_width": 512, "thumbnail_height": 384}
    return Photo(**{"pk": 77, "owner": User(pk=1)} | shown | sizes | values)


def tile(result: Result) -> Tile:
    (made,) = tiles_of([result])
    return made


def test_what_a_tile_says() -> None:
    made = tile(Result(photo(is_favourite=True), 0.23456, closeness=0.5))
    assert made.key == "77"
    assert made.address == reverse("gallery:photo", args=[77])
    assert made.thumbnail == reverse("gallery:file", args=[77, "thumbnail"])
    assert (made.ratio, made.score, made.percent, made.bar) == ("27", "0.2346", "23", "20")
    assert (made.width, made.height) == ("512", "384")
    assert made.favourite
    assert not made.weak
    assert not made.divides


def test_what_is_not_there_is_empty() -> None:
    made = tile(Result(photo(thumbnail="", width=0, height=0), None))
    assert (made.thumbnail, made.score, made.percent) == ("", "", "")
    assert made.ratio == "27"  # as 4 to 3


def test_each_has_its_own_address() -> None:
    results = [Result(photo(pk=pk), 0.5) for pk in (1, 7, 77, 7_777)]
    assert [made.address for made in tiles_of(results)] == [
        reverse("gallery:photo", args=[pk]) for pk in (1, 7, 77, 7_777)
    ]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_names_are_escaped_and_numbers_are_numbers(language: str) -> None:
    with translation.override(language):
        results = [Result(photo(pk=12_345), 0.5, weak=True, divides=True, closeness=1.0)]
        html = render_to_string("search/_result_tiles.html", {"tiles": tiles_of(results)})
    assert "<b>" not in html
    assert "a &lt;b&gt; &amp; c.jpg" in html
    assert 'data-photo-id="12345"' in html
    assert 'data-score="0.5000"' in html
    assert 'id="weaker"' in html
    assert "tile-weak" in html

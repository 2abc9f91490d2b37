"""JPEGs that go over their pixels again and again."""

from __future__ import annotations

import io

import pytest

from gallery.decoding.problems import BadPicture, Problem
from gallery.probing import MOST_SCANS, probe_picture
from gallery.scans import count_scans
from tests.attacks import jpeg_of_scans
from tests.gallery.pictures import quartered, saved

# Of what Pillow makes, libjpeg's own script for colour.
USUAL = 10


def test_scans_are_counted() -> None:
    assert count_scans(saved(quartered())) == 1
    assert count_scans(saved(quartered(), progressive=True)) == USUAL
    assert count_scans(saved(quartered(), progressive=True, restart_marker_rows=1)) == USUAL
    assert count_scans(jpeg_of_scans(64, 48, 2000)) == USUAL - 1 + 2000
    # What comes after the picture, as the film of a phone, is none of it.
    assert count_scans(saved(quartered()) + b"\xff\xda\0\2" * 500) == 1
    assert count_scans(saved(quartered(), "PNG")) == 0
    assert count_scans(b"\xff\xd8\xff") == 0


def test_what_lies_between_the_segments_hides_none() -> None:
    content = jpeg_of_scans(64, 48, 500)
    first = content.index(b"\xff\xc0") if b"\xff\xc0" in content else content.index(b"\xff\xc2")
    assert count_scans(content[:first] + b"garbage\xff" + content[first:]) == USUAL - 1 + 500


@pytest.mark.parametrize(("scans", "taken"), [(MOST_SCANS - USUAL, True), (MOST_SCANS, False)])
def test_too_many_are_refused_before_they_are_decoded(scans: int, taken: bool) -> None:
    file = io.BytesIO(jpeg_of_scans(64, 48, scans))
    if taken:
        assert probe_picture(file, max_pixels=10_000).width == 64
        return
    with pytest.raises(BadPicture) as refused:
        probe_picture(file, max_pixels=10_000)
    assert refused.value.problem is Problem.TOO_SLOW

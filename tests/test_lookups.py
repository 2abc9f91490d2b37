"""The lookup that takes its values as one array."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from gallery.models import Photo


@pytest.fixture
def photos(ann: User, ben: User) -> list[Photo]:
    return Photo.objects.bulk_create(
        Photo(owner=owner, sha256=f"{n:064}", filename=f"{n}.jpg", size_bytes=1, width=1, height=1)
        for n, owner in enumerate((ann, ann, ann, ben))
    )


@pytest.mark.parametrize("wanted", [[0, 2], [1], [3], [], [0, 1, 2, 3]])
@pytest.mark.parametrize("collect", [list, tuple, set])
def test_it_finds_what_in_finds(
    ann: User,
    photos: list[Photo],
    wanted: list[int],
    collect: Callable[[list[int]], Collection[int]],
) -> None:
    keys = [photos[number].pk for number in wanted]
    names = [photos[number].filename for number in wanted]
    own = Photo.objects.owned_by(ann)
    assert set(own.filter(pk__any_of=collect(keys))) == set(own.filter(pk__in=keys))
    assert set(own.filter(filename__any_of=names)) == set(own.filter(filename__in=names))
    assert set(own.exclude(pk__any_of=keys)) == set(own.exclude(pk__in=keys))


def test_it_is_one_array(photos: list[Photo]) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        list(Photo.objects.filter(pk__any_of=[photo.pk for photo in photos]))
    assert queries.captured_queries[0]["sql"].count("= ANY") == 1

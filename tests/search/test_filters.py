"""Filters and vectors together, against brute force over random galleries in the real Milvus."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.models import User
from gallery.models import Album, Photo
from search import milvus, query, ranking
from search.filters import UnknownAlbum, matching_photos
from search.indexing import kept_embedding, put_back, read_embedding
from search.models import PhotoIndexing, SearchIndex
from search.planning import Filter, FilterKind, Plan, TextTerm, parse
from search.query import search_photos
from t2isearch.cache import derived

CAMERAS = ("", "Pixel 9", "Nikon Z6")
START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(repr=False)
class Gallery:
    """A person's photos with their embeddings, as PostgreSQL and Milvus hold them."""

    owner: User
    embeddings: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]]

    def __repr__(self) -> str:
        return f"the gallery of {self.owner}"

    def ranked(self, plan: Plan, vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[int]:
        """What the search should find, one photo at a time."""
        fitting = [
            photo
            for photo in Photo.objects.filter(owner=self.owner, trashed_at=None)
            if photo.pk in self.embeddings and fits(photo, plan)
        ]
        return sorted(
            (photo.pk for photo in fitting), key=lambda key: -float(self.embeddings[key] @ vector)
        )


def fits(photo: Photo, plan: Plan) -> bool:
    """By hand, and not through the query sets that are tested."""
    days = START.date()
    for each in plan.filters:
        match each.kind:
            case FilterKind.AFTER | FilterKind.BEFORE:
                days = each.first_day
                if photo.taken_at is None:
                    return False
                earlier = photo.taken_at.date() < days
                if earlier == (each.kind == FilterKind.AFTER):
                    return False
            case FilterKind.IS:
                if photo.is_favourite == each.negated:
                    return False
            case FilterKind.ALBUM:
                titles = set(photo.albums.values_list("title", flat=True))
                if (each.value in titles) == each.negated:
                    return False
            case FilterKind.CAMERA:
                if (each.value.lower() in photo.camera.lower()) == each.negated:
                    return False
            case FilterKind.TYPE:
                if (photo.media_type == f"image/{each.value}") == each.negated:
                    return False
            case FilterKind.NAME:
                if (each.value.lower() in photo.filename.lower()) == each.negated:
                    return False
    return True


def make_gallery(index: SearchIndex, owner: User, *, count: int, seed: int) -> Gallery:
    random = np.random.default_rng(seed)
    albums = [Album.objects.create(owner=owner, title=title) for title in ("Sea", "Hills")]
    photos = Photo.objects.bulk_create(
        Photo(
            owner=owner,
            sha256=f"{seed}-{number}",
            filename=f"IMG_{number}.jpg",
            media_type=("image/jpeg", "image/png")[int(random.random() < 0.2)],
            size_bytes=1,
            width=4,
            height=3,
            camera=CAMERAS[random.integers(3)],
            taken_at=START + timedelta(days=int(random.integers(400)))
            if random.random() < 0.8
            else None,
            is_favourite=random.random() < 0.3,
            trashed_at=timezone.now() if random.random() < 0.1 else None,
        )
        for number in range(count)
    )
    for album in albums:
        album.photos.set([photo for photo in photos if random.random() < 0.4])
    vectors = random.normal(size=(count, index.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = PhotoIndexing.objects.bulk_create(
        PhotoIndexing(
            photo=photo,
            index=index,
            state=PhotoIndexing.State.DONE,
            indexed_at=timezone.now(),
            embedding=kept_embedding(vector),
        )
        for photo, vector in zip(photos, vectors, strict=True)
        # Some are not embedded yet.
        if random.random() < 0.95
    )
    put_back(index, rows)
    embeddings = {row.photo_id: read_embedding(row.embedding) for row in rows if row.embedding}
    return Gallery(owner, embeddings)


@pytest.fixture
def gallery(ann: User, ben: User, index: SearchIndex) -> Gallery:
    derived.clear()
    make_gallery(index, ben, count=60, seed=7)
    return make_gallery(index, ann, count=180, seed=3)


days = st.integers(0, 420).map(lambda number: (START + timedelta(days=number)).date().isoformat())


def value_filter(kind: FilterKind, *values: str) -> st.SearchStrategy[Filter]:
    return st.builds(Filter, st.just(kind), st.sampled_from(values), st.booleans())


one_filter = st.one_of(
    st.builds(Filter, st.sampled_from([FilterKind.AFTER, FilterKind.BEFORE]), days),
    value_filter(FilterKind.ALBUM, "Sea", "Hills"),
    value_filter(FilterKind.IS, "favourite"),
    value_filter(FilterKind.CAMERA, "pixel", "Nikon Z6"),
    value_filter(FilterKind.TYPE, "png", "jpeg", "gif"),
    value_filter(FilterKind.NAME, "IMG_1", "7.jpg", "no"),
)
# One of a kind: several of a kind are tested by themselves.
some_filters = st.lists(one_filter, max_size=4, unique_by=lambda each: each.kind).map(tuple)
# How many photos are named to Milvus, how many hits it gives at most, how many are ranked at first.
WAYS = [(1000, 16_384, 300), (40, 60, 1), (1, 16_384, 30), (1, 60, 30), (1, 5, 1), (1, 5, 300)]
words = st.sampled_from(["cat", "a red car", "night"])


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    plan=st.builds(lambda text, found: Plan((TextTerm(text),), found), words, some_filters),
    limit=st.integers(1, 60),
    way=st.sampled_from(WAYS),
)
def test_pages_are_full_and_right_whatever_the_filters(
    gallery: Gallery,
    index: SearchIndex,
    plan: Plan,
    limit: int,
    way: tuple[int, int, int],
) -> None:
    """Whichever way is taken: photos listed, over-fetched and topped up, or compared one by one."""
    most_listed, most_hits, first_depth = way
    vector = query.embed_text(index, plan.texts[0])
    expected = gallery.ranked(plan, vector)
    with (
        patch.object(ranking, "MOST_LISTED", most_listed),
        patch.object(milvus, "MOST_HITS", most_hits),
        patch.object(query, "FIRST_DEPTH", first_depth),
    ):
        pages: list[list[int]] = []
        scores: list[float] = []
        cursor: str | None = ""
        while cursor is not None:
            page = search_photos(
                owner=gallery.owner, plan=plan, limit=limit, cursor=cursor, weak=True
            )
            pages.append([result.photo.pk for result in page.results])
            scores += [result.score or 0.0 for result in page.results]
            cursor = page.next_cursor
    found = [key for keys in pages for key in keys]
    assert set(found) == set(expected)
    assert len(found) == len(expected)
    assert all(len(keys) == limit for keys in pages[:-1])
    # Similarities are float32 in Milvus and float16 in PostgreSQL: near ties may be swapped.
    right = [float(gallery.embeddings[key] @ vector) for key in expected]
    np.testing.assert_allclose(scores, right, atol=2e-3)


def test_several_of_a_kind(ann: User, index: SearchIndex) -> None:
    make_gallery(index, ann, count=40, seed=1)

    def found(text: str) -> set[int]:
        return set(matching_photos(ann, parse(text)).values_list("pk", flat=True))

    assert found("camera:pixel camera:nikon") == found("camera:pixel") | found("camera:nikon")
    assert found("camera:pixel camera:nikon") != set()
    assert found("album:sea album:hills") == found("album:Sea") & found("album:Hills")
    assert found("type:png type:jpeg -type:jpeg") == found("type:png")


def test_an_album_that_is_not_ones_own(ann: User, ben: User) -> None:
    Album.objects.create(owner=ben, title="Secret")
    with pytest.raises(UnknownAlbum, match="Secret"):
        matching_photos(ann, parse("album:Secret"))

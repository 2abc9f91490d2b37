from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from accounts.models import User
from gallery.models import Photo
from search import relevance
from search.background import BACKGROUND_QUERIES, VERSION
from search.models import SearchIndex
from search.planning import parse
from search.query import query_vector, search_photos
from search.relevance import Calibration, background, calibration, cut_off

Add = Callable[[User, int], Photo]
Vectors = NDArray[np.float32]


def unit(rows: NDArray[Any]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)


def space(photos: int, *, offset: float, seed: int = 0) -> tuple[Vectors, Vectors, Vectors]:
    """Photos, background queries and one direction of meaning in a made-up space.

    `offset` is how much texts have in common with photos: encoders differ in it.
    """
    random = np.random.default_rng(seed)
    common = random.normal(size=64)
    rows = random.normal(size=(photos, 64)) + offset * common
    texts = random.normal(size=(len(BACKGROUND_QUERIES), 64)) + offset * common
    meaning = random.normal(size=64)
    return unit(rows), unit(texts), np.asarray(meaning, dtype=np.float32)


@pytest.mark.parametrize("offset", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("photos", [20, 200, 2000])
def test_the_cut_off_follows_the_space_and_not_a_number(photos: int, offset: float) -> None:
    """What is close is found, and chance is not, whatever cosines an encoder's space has."""
    sample, texts, meaning = space(photos, offset=offset)
    random = np.random.default_rng(1)
    common = sample.mean(axis=0) * offset
    shown_by_chance = 0
    calibrated = Calibration.of(sample[: relevance.SAMPLE_SIZE], texts, photos=photos)
    for _ in range(20):
        other = unit(np.asarray(random.normal(size=64) + offset * 8 * common, dtype=np.float32))
        shown_by_chance += int((sample @ other >= calibrated.text_cut_off(other).similarity).sum())
    # The gallery's size does not matter: at most one such query in five shows a photo.
    assert shown_by_chance <= 4
    for row in sample[:10]:
        close = unit(np.asarray(row + 0.03 * random.normal(size=64), dtype=np.float32))
        assert float(row @ close) >= calibrated.text_cut_off(close).similarity
    assert calibrated.text_cut_off(meaning / np.linalg.norm(meaning)).chance < 0.99


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_a_gallery_of_very_few_photos(photos: int) -> None:
    sample, texts, _ = space(photos, offset=0.5)
    calibrated = Calibration.of(sample, texts, photos=photos)
    cut = calibrated.text_cut_off(sample[0])
    assert np.isfinite([cut.similarity, cut.chance]).all()
    assert cut.similarity < 1
    assert calibrated.photo_cut_off(sample[0]) is None


def test_photos_of_one_kind_are_not_held_against_the_word_for_it() -> None:
    """A gallery of dogs: "dog" is close to all of its photos, and all of them are answers."""
    random = np.random.default_rng(2)
    texts = unit(np.asarray(random.normal(size=(128, 64)), dtype=np.float32))
    dog = unit(np.asarray(random.normal(size=64), dtype=np.float32))
    dogs = unit(np.asarray(dog + 0.1 * random.normal(size=(100, 64)), dtype=np.float32))
    cut = Calibration.of(dogs, texts, photos=100).text_cut_off(dog)
    assert (dogs @ dog >= cut.similarity).all()


def test_the_background_is_embedded_once_for_a_generation(index: SearchIndex) -> None:
    vectors = background(index)
    assert vectors.shape == (len(BACKGROUND_QUERIES), index.dimension)
    again = SearchIndex.objects.get(pk=index.pk)
    with patch.object(relevance, "load_text_encoder", side_effect=AssertionError):
        np.testing.assert_array_equal(background(again), vectors)
    with patch.object(relevance, "VERSION", VERSION + 1):
        background(again)
    assert SearchIndex.objects.get(pk=index.pk).background_version == VERSION + 1


def test_a_calibration_is_of_ones_own_photos(
    ann: User, ben: User, add: Add, index: SearchIndex
) -> None:
    assert calibration(index, ann) is None
    for number in range(3):
        add(ann, number)
    add(ben, 9)
    found = calibration(index, ann)
    assert found is not None
    assert (found.photos, found.sample.shape) == (3, (3, index.dimension))
    with patch.object(relevance, "_sample", side_effect=AssertionError):
        assert calibration(index, ann) is not None


def test_nothing_is_cut_off_where_only_the_unlike_is_asked_for(
    ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    for text, is_cut in (("cat", True), ("-cat", False)):
        plan = parse(text)
        vector = query_vector(index, ann, plan)
        assert (cut_off(index=index, owner=ann, plan=plan, vector=vector) is not None) == is_cut


@pytest.mark.parametrize("count", [1, 4, 20])
def test_random_weights_and_few_photos_break_nothing(
    ann: User, add: Add, index: SearchIndex, count: int
) -> None:
    photos = [add(ann, number) for number in range(count)]
    for text in ("a cat", f"photo:{photos[0].pk}", f'"a cat" + photo:{photos[0].pk}'):
        strong = search_photos(owner=ann, plan=parse(text), limit=50)
        whole = search_photos(owner=ann, plan=parse(text), limit=50, weak=True)
        keys = [result.photo.pk for result in whole.results]
        assert [result.photo.pk for result in strong.results] == keys[: len(strong.results)]
        assert len(keys) == count - text.count("photo:")
        assert all(0 <= result.closeness <= 1 for result in whole.results)

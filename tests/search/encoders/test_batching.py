"""One bad image never spoils the others, whatever goes wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.encoders import EncodingError
from search.encoders.base import Prepared
from search.encoders.batching import NOT_EMBEDDED, embed_batch, embed_prepared_batch

IMAGES = {key: Image.new("RGB", (2, 2), (key, 0, 0)) for key in (5, 3, 9, 7)}


def _red(image: Image.Image) -> Prepared:
    return {"red": np.asarray(image, dtype=np.float32)[0, 0, 0]}


def _reds(prepared: Sequence[Prepared]) -> NDArray[np.float32]:
    return np.array([each["red"] for each in prepared], dtype=np.float32)


def _vectors(prepared: Sequence[Prepared]) -> NDArray[np.float32]:
    """``(red, 1)`` of each image."""
    reds = _reds(prepared)
    return np.stack([reds, np.ones_like(reds)], axis=1)


def _assert_only_fails(
    culprit: int, results: dict[int, NDArray[np.float32] | EncodingError]
) -> None:
    assert list(results) == list(IMAGES)
    for key, result in results.items():
        if key == culprit:
            assert isinstance(result, EncodingError)
            assert str(result) == NOT_EMBEDDED
        else:
            assert isinstance(result, np.ndarray)
            assert result == pytest.approx(np.array([key, 1]) / np.hypot(key, 1))


def test_of_a_batch_that_fails_as_a_whole_the_halves_are_tried() -> None:
    sizes = []

    def forward(prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        sizes.append(len(prepared))
        if (_reds(prepared) == 9).any():
            raise RuntimeError("out of memory")
        return _vectors(prepared)

    _assert_only_fails(9, embed_batch(IMAGES, prepare=_red, forward=forward))
    # 9 is in the second half.
    assert sizes == [4, 2, 2, 1, 1]


def test_a_batch_too_large_for_the_memory_is_embedded_in_parts() -> None:
    def forward(prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        if len(prepared) > 8:
            raise RuntimeError("out of memory")
        return _vectors(prepared)

    results = embed_prepared_batch(
        {key: {"red": np.asarray(key, np.float32)} for key in range(40)}, forward=forward
    )
    assert list(results) == list(range(40))
    for key, vector in results.items():
        assert isinstance(vector, np.ndarray)
        assert vector == pytest.approx(np.array([key, 1]) / np.hypot(key, 1))


@pytest.mark.parametrize("useless", [0.0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_an_error(useless: float) -> None:
    def forward(prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        vectors = _vectors(prepared)
        vectors[_reds(prepared) == 3] = useless
        return vectors

    _assert_only_fails(3, embed_batch(IMAGES, prepare=_red, forward=forward))

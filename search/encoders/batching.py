"""Embedding a batch of images so that one bad image never spoils the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from django.utils.translation import gettext_noop as _
from numpy.typing import NDArray
from PIL import Image

from search.encoders.base import Embedding, EncodingError, Prepared, l2_normalised

logger = logging.getLogger(__name__)

UNREADABLE = _("The picture could not be read.")
NOT_EMBEDDED = _("The picture could not be analysed.")

Forward = Callable[[Sequence[Prepared]], NDArray[np.float32]]
"""``n`` prepared images to unnormalised vectors of shape ``(n, dimension)``."""


def stacked(prepared: Sequence[Prepared]) -> dict[str, NDArray[Any]]:
    """Each input of a model for ``n`` images, with ``n`` in front."""
    return {name: np.stack([each[name] for each in prepared]) for name in prepared[0]}


def embed_batch(
    images: Mapping[int, Image.Image],
    *,
    prepare: Callable[[Image.Image], Prepared],
    forward: Forward,
) -> dict[int, Embedding | EncodingError]:
    """Prepare each image by itself and run the readable ones through the model as one batch."""
    results: dict[int, Embedding | EncodingError] = {}
    prepared: dict[int, Prepared] = {}
    for key, image in images.items():
        try:
            prepared[key] = prepare(image)
        except Exception:
            logger.warning("Image %s could not be prepared", key, exc_info=True)
            results[key] = EncodingError(UNREADABLE)
    results.update(embed_prepared_batch(prepared, forward=forward))
    return {key: results[key] for key in images}


def embed_prepared_batch(
    prepared: Mapping[int, Prepared], *, forward: Forward
) -> dict[int, Embedding | EncodingError]:
    """Run prepared images through the model as one batch.

    When ``forward`` raises for the whole batch its halves are tried, down to single images, so that
    only the culprit fails and a batch too large for the memory is still embedded. A vector with
    NaN, infinity or zero length, which has no direction to compare, counts as a failure too.
    """
    return {
        key: EncodingError(NOT_EMBEDDED)
        if vector is None or not np.isfinite(vector).all()
        else vector
        for key, vector in _forward_each(prepared, forward).items()
    }


def _forward_each(
    prepared: Mapping[int, Prepared], forward: Forward
) -> dict[int, Embedding | None]:
    """The normalised vector of each key (not finite where it has no direction), or None."""
    if not prepared:
        return {}
    try:
        vectors = l2_normalised(forward(list(prepared.values())))
    except Exception:
        if len(prepared) == 1:
            logger.exception("Image %s could not be embedded", next(iter(prepared)))
            return dict.fromkeys(prepared)
        logger.warning("A batch of %d failed; trying its halves", len(prepared), exc_info=True)
        keys, middle = list(prepared), len(prepared) // 2
        halves = ({key: prepared[key] for key in half} for half in (keys[:middle], keys[middle:]))
        return {
            key: vector for half in halves for key, vector in _forward_each(half, forward).items()
        }
    return dict(zip(prepared, vectors, strict=True))

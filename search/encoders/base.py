"""What an encoder is: photos and texts in, vectors of one space out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Embedding = NDArray[np.float32]
"""One vector of shape ``(dimension,)``, L2-normalised, so that a dot product is a cosine."""


Prepared = Mapping[str, NDArray[Any]]
"""One image as its model takes it: arrays by the names of the model's inputs, without a batch."""


Tower = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]
"""A model's inputs for ``n`` images or texts, by name, to one row for each."""


class EncoderUnavailable(Exception):
    """An encoder that cannot be described or loaded; its text is one sentence for an operator."""


class EncodingError(Exception):
    """One image that could not be embedded; its text is one sentence for the photo's owner.

    The sentence is an untranslated gettext message, since it is stored with the photo: whoever
    shows it translates it.
    """


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Which encoder, exactly: vectors are comparable only when name and revision are the same.

    ``name`` is ``"starter"``, a model's name on the hub or the absolute path of a folder;
    ``revision`` the hub's commit hash, or a hash of what makes up a folder or the starter. It ends
    in ``+int8`` where the image tower is quantised, whose vectors differ too much to be mixed.
    """

    name: str
    revision: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a tower's numbers are worked out with.

    ``name`` is ``"torch"`` or ``"openvino"``, ``precision`` ``"float32"``, ``"float16"``,
    ``"bfloat16"`` or ``"int8"``, ``device`` ``"cpu"`` or ``"cuda"``; ``reason`` says in a sentence
    why this one.
    """

    name: str
    precision: str
    device: str
    threads: int
    reason: str


class ImageEncoder(Protocol):
    """The image tower of a dual encoder.

    ``embed_images`` does all; ``prepare`` and ``embed_prepared`` are its two halves, for whoever
    prepares the next images in other threads while the model works.
    """

    info: EncoderInfo
    runtime: Runtime

    def prepare(self, image: Image.Image) -> Prepared:
        """The model's input for one image; safe to call from several threads, raises anything."""
        ...

    def embed_prepared(
        self, prepared: Mapping[int, Prepared]
    ) -> dict[int, Embedding | EncodingError]:
        """The result for exactly the keys of ``prepared``; errors as in embed_images."""
        ...

    def embed_images(
        self, images: Mapping[int, Image.Image]
    ) -> dict[int, Embedding | EncodingError]:
        """Embed RGB images, keyed by whatever the caller knows them by.

        The result has exactly the keys of ``images``: an image that cannot be embedded has its
        error there and leaves the others untouched.
        """
        ...


class TextEncoder(Protocol):
    """The text tower of a dual encoder; safe to call from several threads."""

    info: EncoderInfo
    runtime: Runtime

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed ``n`` texts as L2-normalised rows of shape ``(n, dimension)``."""
        ...


def l2_normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of ``(n, dimension)`` to unit length; a zero row becomes NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        normalised: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalised

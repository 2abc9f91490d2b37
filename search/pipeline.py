"""From photos to embeddings: renditions are decoded while the model works on those before."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.utils.translation import gettext_noop
from numpy.typing import NDArray
from PIL import Image

from gallery.storage import read_file
from search.encoders import (
    EncoderInfo,
    EncoderUnavailable,
    EncodingError,
    Prepared,
    load_image_encoder,
)
from search.encoders.batching import UNREADABLE
from search.encoders.runtimes import available_cpus

if TYPE_CHECKING:
    from gallery.models import Photo

MISSING = gettext_noop("The thumbnail is gone from the storage.")

Results = dict[int, NDArray[np.float32] | Exception]
"""An embedding, or why there is none, for each photo by its id."""

# Enough to keep a model on the same cores busy. More get in each other's way (benchmarks.gpu): a
# fast GPU is fed by several workers.
DECODERS = max(2, min(4, available_cpus()))

# A batch takes about this long at most, however slow the model is on this machine: whoever uploads
# a photo meanwhile waits for the one that runs and the one behind it.
_BATCH_SECONDS = 0.25
# Before it is known how slow that is.
_FIRST_BATCH = 8

_seconds_per_photo: dict[EncoderInfo, float] = {}


def batch_size(info: EncoderInfo) -> int:
    """How many photos to embed at once: INDEX_BATCH_SIZE, or fewer with a slow model."""
    seconds = _seconds_per_photo.get(info)
    fitting = _FIRST_BATCH if seconds is None else int(_BATCH_SECONDS / seconds)
    on_gpu = load_image_encoder(info).runtime.device != "cpu"
    most = settings.INDEX_BATCH_SIZE_ON_GPU if on_gpu else settings.INDEX_BATCH_SIZE
    return max(1, min(most, fitting))


class EmbeddingPipeline:
    """Embeds batches of photos, one after the other, in threads of its own.

    A batch's renditions are decoded and prepared as soon as it is submitted, while the model still
    works on the one before. No thread touches the database.
    """

    def __init__(self) -> None:
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._embedder = ThreadPoolExecutor(1, thread_name_prefix="embed")

    def __enter__(self) -> EmbeddingPipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._decoders.shutdown(cancel_futures=True)
        self._embedder.shutdown(cancel_futures=True)

    def submit(self, info: EncoderInfo, photos: Mapping[int, Photo]) -> Future[Results]:
        """The results for exactly the keys of `photos`, or EncoderUnavailable for all."""
        prepared = {
            photo_id: self._decoders.submit(_prepare, info, photo)
            for photo_id, photo in photos.items()
        }
        return self._embedder.submit(_embed, info, prepared)


def _prepare(info: EncoderInfo, photo: Photo) -> Prepared:
    encoder = load_image_encoder(info)
    try:
        # Read whole before it is decoded: what the storage does says nothing about the picture.
        content = read_file(str(photo.thumbnail.name))
    except FileNotFoundError:
        raise EncodingError(MISSING) from None
    with Image.open(io.BytesIO(content)) as opened:
        image = opened.convert("RGB")
    try:
        return encoder.prepare(image)
    except Exception as error:
        raise EncodingError(UNREADABLE) from error


def _embed(info: EncoderInfo, waited_for: Mapping[int, Future[Prepared]]) -> Results:
    encoder = load_image_encoder(info)
    results: Results = {}
    prepared: dict[int, Prepared] = {}
    for photo_id, future in waited_for.items():
        try:
            prepared[photo_id] = future.result()
        except EncoderUnavailable:
            raise
        except Exception as error:
            results[photo_id] = error
    if prepared:
        started = time.perf_counter()
        results.update(encoder.embed_prepared(prepared))
        _seconds_per_photo[info] = (time.perf_counter() - started) / len(prepared)
    return results

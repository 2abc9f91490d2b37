"""From rendition files to vectors, as the indexing worker does it, and the share of the embed-only
limit that is left. Then what else the worker does: claim photos, write their vectors to Milvus and
record them in PostgreSQL, with vectors that cost nothing.

    python -m benchmarks.indexing [SIZE ...]
"""

from __future__ import annotations

import io
import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from benchmarks.measuring import configure, median_seconds, photos, print_table, sizes_asked
from benchmarks.models import model_folder
from benchmarks.services import add_rows, start_services

BATCH = 32
PHOTOS = 256
PHOTOS_WRITTEN = 4000


@dataclass(frozen=True)
class _File:
    path: Path

    def open(self, mode: str) -> IO[bytes]:
        return cast("IO[bytes]", self.path.open(mode))


class PhotoFile:
    """As much of a photo as the pipeline looks at."""

    def __init__(self, path: Path) -> None:
        self.thumbnail = _File(path)


def main() -> None:
    sizes = sizes_asked(__doc__, ["ViT-B/32", "starter"], ["ViT-B/16", "SigLIP-B/16", "ViT-L/14"])
    rows = []
    with ExitStack() as stack, TemporaryDirectory() as folder:
        start_services(stack)
        configure(INDEX_BATCH_SIZE=BATCH)
        files = _renditions(Path(folder))
        for size in sizes:
            name = "starter" if size == "starter" else str(model_folder(size))
            rows.append([size, *_measured(name, files)])
        written = _written()
    print_table(
        (
            "model",
            "runtime",
            "decode + prepare",
            "embed only",
            "one by one",
            "pipeline",
            "of limit",
        ),
        rows,
    )
    print()
    print_table(("batch", "PostgreSQL alone", "and Milvus"), written)


def _measured(name: str, files: list[PhotoFile]) -> list[str]:
    from PIL import Image

    from search.encoders import describe, load_image_encoder

    info = describe(name)
    encoder = load_image_encoder(info)

    def decoded(photo: PhotoFile) -> Any:
        with photo.thumbnail.open("rb") as file, Image.open(file) as image:
            return encoder.prepare(image.convert("RGB"))

    decode = median_seconds(lambda: [decoded(photo) for photo in files[:BATCH]]) / BATCH
    prepared = {number: decoded(photo) for number, photo in enumerate(files[:BATCH])}
    embed = median_seconds(partial(encoder.embed_prepared, prepared)) / BATCH

    def one_by_one() -> None:
        for number, photo in enumerate(files[:BATCH]):
            encoder.embed_prepared({number: decoded(photo)})

    single = median_seconds(one_by_one) / BATCH
    whole = through_pipeline(info, files, BATCH) / len(files)
    return [
        f"{encoder.runtime.name} {encoder.runtime.precision}",
        f"{decode * 1e3:.1f} ms",
        *(f"{1 / seconds:.1f} img/s" for seconds in (embed, single, whole)),
        f"{embed / whole:.0%}",
    ]


def through_pipeline(info: Any, files: list[PhotoFile], size: int) -> float:
    """The seconds that it takes, with the next batch always submitted ahead."""
    from search.pipeline import EmbeddingPipeline

    batches: list[Any] = [
        dict(enumerate(files[start : start + size])) for start in range(0, len(files), size)
    ]
    started = time.perf_counter()
    with EmbeddingPipeline() as pipeline:
        running = pipeline.submit(info, batches[0])
        for batch in batches[1:]:
            following = pipeline.submit(info, batch)
            running.result()
            running = following
        running.result()
    return time.perf_counter() - started


def _written() -> list[list[str]]:
    """Photos a second through the worker's loop with random vectors."""
    from unittest.mock import patch

    import numpy as np
    from django.conf import settings

    from search import indexing, milvus, pipeline
    from search.encoders import load_image_encoder
    from search.generations import prepare_index

    settings.SEARCH_ENCODER = "starter"
    index, _created = prepare_index()
    load_image_encoder(index.encoder_info)
    add_rows(index, PHOTOS_WRITTEN, owners=3)
    vectors = np.random.default_rng(0).normal(size=(128, index.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def submit(_pipeline: Any, _info: Any, photos: dict[int, Any]) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(dict(zip(photos, vectors, strict=False)))
        return done

    def write(batch: int) -> str:
        index.indexings.update(
            state="pending", indexed_at=None, attempts=0, due_at=index.created_at
        )
        with patch.object(indexing, "batch_size", lambda _info: batch):
            started = time.perf_counter()
            indexing.index_due_photos(for_seconds=600)
            seconds = time.perf_counter() - started
        assert index.indexings.filter(state="done").count() == PHOTOS_WRITTEN
        return f"{PHOTOS_WRITTEN / seconds:,.0f}/s"

    rows = []
    with patch.object(pipeline.EmbeddingPipeline, "submit", submit):
        for batch in (32, 128):
            with patch.object(milvus, "upsert"):
                alone = write(batch)
            rows.append([str(batch), alone, write(batch)])
    return rows


def _renditions(folder: Path) -> list[PhotoFile]:
    """Thumbnails as the gallery writes them."""
    from gallery.renditions import make_renditions

    kept = []
    for number, picture in enumerate(photos(96)):
        file = io.BytesIO()
        picture.save(file, "PNG")
        file.seek(0)
        path = folder / f"{number}.jpg"
        path.write_bytes(make_renditions(file).thumbnail)
        kept.append(PhotoFile(path))
    return [kept[number % len(kept)] for number in range(PHOTOS)]


if __name__ == "__main__":
    main()

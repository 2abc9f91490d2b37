"""The image towers on a GPU: alone, and fed from rendition files as the indexing worker does it.

    python -m benchmarks.gpu [SIZE ...]

First table: prepared images in the computer's memory in, vectors out. `of the limit` is the share
of a large matrix product in the same precision on the same GPU; `cosine` is the lowest to
transformers in float32 on the CPU. Second table: JPEG files in, vectors out, in one or several
workers that decode in threads, against the plain loop (open, the checkpoint's processor, the model
in float32 on the GPU, one photo at a time). Third: a query of eight words in, its vector out.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.encode import FLOPS
from benchmarks.indexing import PhotoFile, through_pipeline
from benchmarks.measuring import (
    configure,
    gemm_flops,
    least_cosine,
    median_seconds,
    photos,
    print_table,
    sizes_asked,
)
from benchmarks.models import SIZES, model_folder, plain_model

BATCHES = (1, 8, 32, 128, 256)
FILES = 2048
BATCH = 128


def main() -> None:
    sizes = sizes_asked(__doc__, [*SIZES, "ViT-L/14"])
    configure(INDEX_BATCH_SIZE_ON_GPU=BATCH)
    from search.encoders.runtimes import has_gpu

    if not has_gpu():
        sys.exit("There is no GPU here, or this torch can't use it: see benchmarks.encode.")
    import torch  # noqa: TID251 - measured

    limits = {name: gemm_flops(name, size=8192, device="cuda") for name in ("float32", "bfloat16")}
    print(torch.cuda.get_device_name(), {n: f"{f / 1e12:.0f} TFLOP/s" for n, f in limits.items()})
    towers: list[list[str]] = []
    pipelines: list[list[str]] = []
    queries: list[list[str]] = []
    with TemporaryDirectory() as folder:
        files = _renditions(Path(folder))
        for size in sizes:
            towers += _towers(size, limits)
            pipelines += _pipelines(size, files)
            queries.append(_query(size))
    print_table(("model", "way", "batch", "img/s", "ratio", "of the limit", "cosine"), towers)
    print()
    print_table(
        ("model", "way", "workers", "threads", "photos/s", "ratio", "of one tower"), pipelines
    )
    print()
    print_table(("model", "text tower", "one query"), queries)


def _towers(size: str, limits: dict[str, float]) -> list[list[str]]:
    import torch  # noqa: TID251 - measured

    from search.encoders import describe, load_image_encoder, registry

    folder = model_folder(size)
    processor, plain = plain_model(folder)
    pictures = photos(max(BATCHES))
    pixels = processor(images=pictures[:32], return_tensors="pt")["pixel_values"]

    def embed_plainly(values: Any) -> Any:
        with torch.inference_mode():
            output = plain.get_image_features(pixel_values=values.to(plain.device)).pooler_output
            return torch.nn.functional.normalize(output).cpu().numpy()

    reference = embed_plainly(pixels)
    plain = plain.to("cuda")
    rows, baseline = [], 0.0
    for batch in (1, 32):
        speed = batch / median_seconds(partial(embed_plainly, pixels[:batch]), seconds=0.7)
        baseline = baseline or speed
        way, limit = "transformers float32", limits["float32"]
        cosine = least_cosine(embed_plainly(pixels), reference)
        rows.append(_row(size, way, batch, speed, baseline, limit, cosine))
    plain = plain.cpu()
    for precision in limits:
        configure(SEARCH_RUNTIME="auto", SEARCH_PRECISION=precision)
        registry.forget_loaded()
        encoder = load_image_encoder(describe(str(folder)))
        assert encoder.runtime.device == "cuda", encoder.runtime
        prepared = {number: encoder.prepare(picture) for number, picture in enumerate(pictures)}
        first: Any = encoder.embed_prepared({number: prepared[number] for number in range(32)})
        cosine = least_cosine(np.stack(list(first.values())), reference)
        for batch in BATCHES:
            part = {number: prepared[number] for number in range(batch)}
            speed = batch / median_seconds(partial(encoder.embed_prepared, part), seconds=0.7)
            limit = limits[precision]
            rows.append(_row(size, f"ours {precision}", batch, speed, baseline, limit, cosine))
            print(rows[-1], file=sys.stderr, flush=True)
    configure(SEARCH_PRECISION="auto")
    registry.forget_loaded()
    return rows


def _pipelines(size: str, files: list[PhotoFile]) -> list[list[str]]:
    from search.encoders import describe, load_image_encoder

    encoder = load_image_encoder(describe(str(model_folder(size))))
    prepared = {n: encoder.prepare(picture) for n, picture in enumerate(photos(BATCH))}
    tower = BATCH / median_seconds(partial(encoder.embed_prepared, prepared))
    loop = _plain_loop(size, files[:64])
    rows = [[size, "plain loop, float32", "1", "1", f"{loop:.0f}", "1.0", ""]]
    way = f"ours, {encoder.runtime.precision}, batches of {BATCH}"
    for processes, threads in ((1, (1, 4, 8)), (2, (4, 8)), (4, (4,))):
        for decoders, speed in _by_workers(size, files, processes, threads):
            rows.append(
                [
                    *(size, way, str(processes), str(decoders), f"{speed:.0f}"),
                    *(f"{speed / loop:.1f}", f"{speed / tower:.0%}"),
                ]
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _by_workers(
    size: str, files: list[PhotoFile], processes: int, threads: tuple[int, ...]
) -> list[tuple[int, float]]:
    """Photos a second of that many processes together, for each number of threads in each."""
    spawning = multiprocessing.get_context("spawn")
    together = spawning.Barrier(processes + 1)
    workers = [
        spawning.Process(target=_work, args=(size, files, threads, together), daemon=True)
        for _worker in range(processes)
    ]
    for worker in workers:
        worker.start()
    speeds = []
    for decoders in threads:
        together.wait(timeout=120)
        started = time.perf_counter()
        together.wait(timeout=120)
        speeds.append((decoders, processes * len(files) / (time.perf_counter() - started)))
    for worker in workers:
        worker.join()
    return speeds


def _work(size: str, files: list[PhotoFile], threads: tuple[int, ...], together: Any) -> None:
    configure(INDEX_BATCH_SIZE_ON_GPU=BATCH)
    from search import pipeline
    from search.encoders import describe

    info = describe(str(model_folder(size)))
    for decoders in threads:
        pipeline.DECODERS = decoders
        through_pipeline(info, files[: 2 * BATCH], BATCH)
        together.wait(timeout=120)
        through_pipeline(info, files, BATCH)
        together.wait(timeout=120)


def _query(size: str) -> list[str]:
    from search.encoders import describe, load_text_encoder

    encoder = load_text_encoder(describe(str(model_folder(size))))
    seconds = median_seconds(lambda: encoder.embed_texts(["two dogs play on the beach at night"]))
    runtime = encoder.runtime
    return [size, f"{runtime.name} {runtime.precision}", f"{seconds * 1e3:.1f} ms"]


def _plain_loop(size: str, files: list[PhotoFile]) -> float:
    """Photos a second the way of the tutorials."""
    import torch  # noqa: TID251 - measured
    from PIL import Image

    processor, model = plain_model(model_folder(size))
    model = model.to("cuda")

    def embed(file: PhotoFile) -> Any:
        with torch.inference_mode():
            image = Image.open(file.thumbnail.path).convert("RGB")
            inputs = processor(images=image, return_tensors="pt").to("cuda")
            return model.get_image_features(**inputs).pooler_output.cpu().numpy()

    embed(files[0])
    started = time.perf_counter()
    for file in files:
        embed(file)
    return len(files) / (time.perf_counter() - started)


def _renditions(folder: Path) -> list[PhotoFile]:
    """Files like the gallery's thumbnails, each under several names."""
    kept = []
    for number, picture in enumerate(photos(96)):
        path = folder / f"{number}.jpg"
        picture.save(path, "JPEG", quality=82, optimize=True)
        kept.append(PhotoFile(path))
    return [kept[number % len(kept)] for number in range(FILES)]


def _row(
    size: str, way: str, batch: int, speed: float, baseline: float, limit: float, cosine: float
) -> list[str]:
    return [
        *(size, way, str(batch), f"{speed:.0f}", f"{speed / baseline:.1f}"),
        *(f"{speed * FLOPS[size] / limit:.0%}", f"{cosine:.5f}"),
    ]


if __name__ == "__main__":
    main()

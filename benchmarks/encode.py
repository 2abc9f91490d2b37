"""Images a second of our image towers against transformers used the plain way, in one run.

    python -m benchmarks.encode [SIZE ...]

Photos in, vectors out: preprocessing is in the time. The limit is that of a large matrix product in
the precision used, measured in the same run. The row of ONNX Runtime needs `pip install onnx
onnxscript onnxruntime`.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import (
    NO_ARITHMETIC,
    configure,
    gemm_flops,
    least_cosine,
    median_seconds,
    photos,
    print_table,
    sizes_asked,
)
from benchmarks.models import SIZES, model_folder, plain_model

# Multiplications and additions of an image's way through the tower.
FLOPS = {
    "ViT-B/32": 8.8e9,
    "ViT-B/16": 35.1e9,
    "SigLIP-B/16": 35.6e9,
    "ViT-L/14": 162e9,
    "starter": 1.8e9,
}
WAYS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)
BATCHES = (1, 8, 32)


def main() -> None:
    wanted = sizes_asked(__doc__, [*SIZES, "starter"], ["ViT-L/14"])
    configure()
    limits = {precision: gemm_flops(precision) for precision in ("float32", "bfloat16")}
    for name, flops in limits.items():
        print(f"{name}: {f'{flops / 1e9:.0f} GFLOP/s' if flops else NO_ARITHMETIC}")
    print()
    rows: list[list[str]] = []
    for size in wanted:
        rows += _starter(limits) if size == "starter" else _checkpoint(size, limits)
    print_table(("model", "way", "batch", "img/s", "ratio", "of the limit", "cosine"), rows)


def _checkpoint(size: str, limits: dict[str, float]) -> list[list[str]]:
    import torch  # noqa: TID251 - measured

    folder = model_folder(size)
    processor, plain = plain_model(folder)
    pictures = photos(32)

    def embed_plainly(batch: int) -> Any:
        with torch.inference_mode():
            inputs = processor(images=pictures[:batch], return_tensors="pt")
            return torch.nn.functional.normalize(plain.get_image_features(**inputs).pooler_output)

    reference = np.concatenate([embed_plainly(32).numpy()])
    rows, baseline = [], 0.0
    for batch in (1, 32):
        speed = batch / median_seconds(partial(embed_plainly, batch))
        baseline = baseline or speed
        limit = limits["float32"]
        rows.append(_row(size, "transformers float32", batch, speed, baseline, limit, 1))
    if importlib.util.find_spec("onnxruntime"):
        embed = _on_onnx_runtime(plain, processor, folder)
        cosine = least_cosine(embed(pictures), reference)
        for batch in (1, 32):
            speed = batch / median_seconds(partial(embed, pictures[:batch]))
            limit = limits["float32"]
            rows.append(_row(size, "ONNX Runtime float32", batch, speed, baseline, limit, cosine))
    return rows + _ours(size, str(folder), reference, baseline, limits, WAYS)


def _on_onnx_runtime(plain: Any, processor: Any, folder: Path) -> Any:
    """A function from pictures to vectors: the image tower exported to ONNX."""
    import onnxruntime
    import torch  # noqa: TID251 - measured

    class ImageTower(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            features = plain.get_image_features(pixel_values=pixel_values).pooler_output
            return torch.nn.functional.normalize(features)

    path = folder / "image.onnx"
    if not path.exists():
        example = torch.zeros(2, 3, 224, 224)
        torch.onnx.export(
            ImageTower().eval(), (example,), path, dynamo=True,
            input_names=["pixel_values"],
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def embed(pictures: list[Any]) -> Any:
        inputs = processor(images=pictures, return_tensors="np")
        return session.run(None, {"pixel_values": inputs["pixel_values"]})[0]

    return embed


def _starter(limits: dict[str, float]) -> list[list[str]]:
    from search.encoders import load_image_encoder, registry, starter

    configure(SEARCH_RUNTIME="torch", SEARCH_PRECISION="float32")
    registry.forget_loaded()
    encoder = load_image_encoder(starter.describe())
    reference = np.stack(list(_embed(encoder, 32).values()))
    baseline = 1 / median_seconds(lambda: _embed(encoder, 1))
    ways = [way for way in WAYS if way[1] != "int8"]
    return _ours("starter", "starter", reference, baseline, limits, ways)


def _ours(
    size: str, name: str, reference: Any, baseline: float, limits: dict[str, float], ways: Any
) -> list[list[str]]:
    from search.encoders import describe, load_image_encoder, registry

    rows = []
    for runtime, precision in ways:
        if limits.get(precision) == 0:
            rows.append([size, f"{runtime} {precision}", NO_ARITHMETIC, *[""] * 4])
            continue
        configure(SEARCH_RUNTIME=runtime, SEARCH_PRECISION=precision)
        registry.forget_loaded()
        encoder = load_image_encoder(describe(name))
        cosine = least_cosine(np.stack(list(_embed(encoder, 32).values())), reference)
        for batch in BATCHES:
            speed = batch / median_seconds(partial(_embed, encoder, batch))
            limit = limits.get(precision)
            rows.append(_row(size, f"{runtime} {precision}", batch, speed, baseline, limit, cosine))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _embed(encoder: Any, count: int) -> dict[int, Any]:
    results: dict[int, Any] = encoder.embed_images(dict(enumerate(photos_once()[:count])))
    return results


_photos: list[Any] = []


def photos_once() -> list[Any]:
    if not _photos:
        _photos.extend(photos(32))
    return _photos


def _row(
    size: str,
    way: str,
    batch: int,
    speed: float,
    baseline: float,
    limit: float | None,
    cosine: float,
) -> list[str]:
    share = f"{speed * FLOPS[size] / limit:.0%}" if limit else ""
    return [
        *(size, way, str(batch), f"{speed:.1f}", f"{speed / baseline:.1f}"),
        *(share, f"{cosine:.5f}"),
    ]


if __name__ == "__main__":
    main()

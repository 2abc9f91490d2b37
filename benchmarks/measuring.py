"""What the benchmarks share: real photos, medians, settings without a database, a table."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from PIL import Image

# Stands in the place of figures for bfloat16, which is else emulated for minutes.
NO_ARITHMETIC = "this chip has no arithmetic for it"


def configure(**values: Any) -> None:
    """Settings for the encoders alone. Later calls change them."""
    import tempfile
    from pathlib import Path

    if not settings.configured:
        settings.configure(
            USE_I18N=False,
            ENCODER_CACHE_DIR=Path(tempfile.gettempdir()) / "t2isearch-benchmarks" / "encoders",
            SEARCH_RUNTIME="auto",
            SEARCH_PRECISION="auto",
        )
    for name, value in values.items():
        setattr(settings, name, value)


def sizes_asked(description: str | None, default: Sequence[str], others: Sequence[str] = ()) -> Any:
    """The sizes of models that the command line names, of `default` and `others`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*default, *others]
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"of {', '.join(names)}")
    sizes = parser.parse_args().sizes
    for size in sizes:
        if size not in names:
            parser.error(f"there is no {size!r} among {', '.join(names)}")
    return sizes or list(default)


def photos(count: int) -> list[Image.Image]:
    """Real photos in the size of a rendition, each cut differently."""
    from search.encoders.quantisation import calibration_photos

    pictures = []
    for picture in calibration_photos():
        picture.thumbnail((512, 512))
        pictures.append(picture)
    return [pictures[number % len(pictures)] for number in range(count)]


def median_seconds(call: Callable[[], Any], *, seconds: float = 1.5, least: int = 3) -> float:
    """The median time of a call, after one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def least_cosine(rows: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float((rows * reference).sum(axis=1).min())


def gemm_flops(dtype_name: str, *, size: int = 2048, device: str = "cpu") -> float:
    """Floating-point operations a second of a large matrix product in torch: the chip's limit.

    0.0 for bfloat16 where the chip has no arithmetic for it: emulated, it takes minutes.
    """
    import torch  # noqa: TID251 - measured

    from search.encoders.runtimes import torch_has_bfloat16

    if dtype_name == "bfloat16" and not torch_has_bfloat16(device):
        return 0.0
    dtype = getattr(torch, dtype_name)
    left, right = (torch.randn(size, size).to(device, dtype) for _side in range(2))

    def multiply() -> None:
        _product = left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        return 2.0 * size**3 / median_seconds(multiply, seconds=2.0)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As Markdown, to be pasted into the docs."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |", flush=True)

"""How long the embedding of a short query takes: cold, warm, from the cache, and for many at once.

python -m benchmarks.query [SIZE ...]
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.measuring import NO_ARITHMETIC, configure, median_seconds, print_table, sizes_asked
from benchmarks.models import model_folder
from search.encoders.runtimes import torch_has_bfloat16

WAYS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
# With a token for each letter: eight tokens, as "a dog on the beach" has in CLIP's own.
QUERY = "dog run"
CLIENTS = 8


def main() -> None:
    sizes = sizes_asked(__doc__, ["ViT-B/32", "SigLIP-B/16", "starter"], ["ViT-B/16", "ViT-L/14"])
    configure()
    rows = []
    for size in sizes:
        name = "starter" if size == "starter" else str(model_folder(size))
        for runtime, precision in WAYS:
            if precision == "bfloat16" and not torch_has_bfloat16("cpu"):
                rows.append([size, f"{runtime} {precision}", NO_ARITHMETIC, "", ""])
                continue
            configure(SEARCH_RUNTIME=runtime, SEARCH_PRECISION=precision)
            rows.append([size, f"{runtime} {precision}", *_measured(name)])
            print(rows[-1], file=sys.stderr, flush=True)
    rows.append(["any", "cached", "", f"{_cached() * 1e3:.2f} ms", ""])
    print_table(("model", "way", "load", "one query", f"each of {CLIENTS} at once"), rows)


def _measured(name: str) -> tuple[str, str, str]:
    from search.encoders import describe, load_text_encoder, registry

    info = describe(name)
    load_text_encoder(info)  # converted, if that is still to be done
    registry.forget_loaded()
    started = time.perf_counter()
    encoder = load_text_encoder(info)
    load = time.perf_counter() - started
    one = median_seconds(partial(encoder.embed_texts, [QUERY]))
    with ThreadPoolExecutor(CLIENTS) as clients:
        times = list(clients.map(partial(_timed, encoder), range(CLIENTS * 8)))
    return f"{load:.2f} s", f"{one * 1e3:.1f} ms", f"{statistics.median(times) * 1e3:.1f} ms"


def _timed(encoder: Any, number: int) -> float:
    started = time.perf_counter()
    encoder.embed_texts([f"{QUERY[:-1]}{number % 10}"])
    return time.perf_counter() - started


def _cached() -> float:
    """What search.query does for a text that was asked for before."""
    import numpy as np
    from django.core.cache import cache

    cache.set("query", np.zeros(512, dtype=np.float32).tobytes())

    def look_up() -> object:
        kept = cache.get("query")
        return np.frombuffer(kept, dtype=np.float32)

    return median_seconds(look_up, seconds=0.5)


if __name__ == "__main__":
    main()

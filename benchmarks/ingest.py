"""From a file to a searchable photo, on the whole running system, against a straightforward loop.

    python -m benchmarks.ingest [--size ViT-B/32] [--photos 200]

Each photo is sent over the API by one of four clients, checked, stored, rendered, embedded (random
weights) and upserted. The loop opens each file, calls transformers' processor and model in float32,
and upserts the vector into the same Milvus: no accounts, no copies, no renditions. The second table
says where a photo's milliseconds go, each step alone in one thread on the idle machine; the third,
how long a single upload takes to be searchable.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import median_seconds, print_table
from benchmarks.models import SIZES, model_folder, plain_model
from t2isearch.embedded.state import published_environment
from tests.api_client import ApiClient
from tests.running_system import RunningSystem

CLIENTS = 4
KINDS = {"12 megapixels": (4000, 3000), "1 megapixel": (1152, 864)}
LOOP_PHOTOS = 24
SINGLE_UPLOADS = 10
BATCH = 32
PATIENCE_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="ViT-B/32")
    parser.add_argument("--photos", type=int, default=200)
    arguments = parser.parse_args()
    model = model_folder(arguments.size)
    environment = {
        "SEARCH_ENCODER": str(model),
        "UPLOAD_RATE": "1000000/minute",
        "SEARCH_RATE": "1000000/minute",
    }
    rates, steps, singles = [], [], []
    with tempfile.TemporaryDirectory(prefix="t2isearch-bench-") as folder:
        Path(folder).chmod(0o711)
        with RunningSystem.start(Path(folder) / "system", environment=environment) as system:
            client = ApiClient.of_new_person(system, "ann")
            _configure(system, model)
            _upload_all(client, system, pictures(KINDS["1 megapixel"], 8, first=10**6))  # warm
            for kind, size in KINDS.items():
                rates += _rates(kind, client, system, model, list(pictures(size, arguments.photos)))
            singles = _singles(client, system)
            for kind, size in KINDS.items():
                steps += _steps(kind, str(model), next(pictures(size, 1, first=10**7)))
    print_table(("photos", "way", "photos/s", "ratio"), rates)
    print()
    print_table(("photos", "step", "ms"), steps)
    print()
    print_table(("single uploads, idle machine", "seconds"), singles)


def pictures(size: tuple[int, int], count: int, *, first: int = 0) -> Iterator[bytes]:
    """Different JPEG files of real photos, enlarged to `size` with a little noise."""
    from search.encoders.quantisation import calibration_photos

    noise = Image.effect_noise(size, 12).convert("RGB")
    photos = [photo.resize(size) for photo in islice(calibration_photos(), 8)]
    files = []
    for photo in photos:
        buffer = io.BytesIO()
        Image.blend(photo, noise, 0.1).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    for number, file in enumerate(islice(cycle(files), count), start=first):
        # A comment (marker COM) after the start makes it another file with the same picture.
        yield file[:2] + b"\xff\xfe\x00\x0a" + f"{number:08}".encode() + file[2:]


def _rates(
    kind: str, client: ApiClient, system: RunningSystem, model: Path, files: list[bytes]
) -> list[list[str]]:
    ours = len(files) / _upload_all(client, system, iter(files))
    few = files[:LOOP_PHOTOS]
    loop = len(few) / _straightforward_loop(model, few)
    return [
        [kind, "straightforward loop", f"{loop:.1f}", "1.0"],
        [kind, "the running system", f"{ours:.1f}", f"{ours / loop:.1f}"],
    ]


def _upload_all(client: ApiClient, system: RunningSystem, files: Iterator[bytes]) -> float:
    """Seconds from the first byte sent to the last photo searchable."""
    before = _searchable(system)
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(partial(client.upload, "photo.jpg"), files))
    assert all(answer.status == 201 for answer in answers), answers[0].text
    wanted = before + len(answers)
    system.wait_until(lambda: _searchable(system) == wanted, PATIENCE_S, "all are searchable")
    return time.perf_counter() - started


def _searchable(system: RunningSystem) -> int:
    ((count,),) = system.query(
        "SELECT count(*) FROM search_photoindexing WHERE indexed_at IS NOT NULL"
    )
    return int(count)


def _straightforward_loop(model: Path, files: list[bytes]) -> float:
    """Seconds for opening, embedding and upserting one file after the other."""
    import torch  # noqa: TID251 - measured

    from search import milvus

    processor, plain = plain_model(model)
    milvus.ensure_collection("loop", 512 if "SigLIP" not in model.name else 768)

    def take_in(number: int, file: bytes) -> None:
        image = Image.open(io.BytesIO(file)).convert("RGB")
        with torch.inference_mode():
            inputs = processor(images=[image], return_tensors="pt")
            features = torch.nn.functional.normalize(
                plain.get_image_features(**inputs).pooler_output
            )
        entry = milvus.Entry(number, 1, milvus.NO_TIME, features[0].numpy())
        milvus.upsert("loop", [entry], seal=False)

    take_in(0, files[0])
    started = time.perf_counter()
    for number, file in enumerate(files, start=1):
        take_in(number, file)
    return time.perf_counter() - started


def _singles(client: ApiClient, system: RunningSystem) -> list[list[str]]:
    times = []
    for number in range(SINGLE_UPLOADS):
        file = next(pictures(KINDS["12 megapixels"], 1, first=2 * 10**6 + number))
        times.append(_upload_all(client, system, iter([file])))
    return [
        ["median", f"{statistics.median(times):.2f}"],
        ["longest", f"{max(times):.2f}"],
    ]


def _steps(kind: str, encoder_name: str, file: bytes) -> list[list[str]]:
    from gallery.renditions import make_renditions
    from gallery.validators import check_picture
    from search import milvus
    from search.encoders import describe, load_image_encoder

    encoder = load_image_encoder(describe(encoder_name))
    thumbnail = make_renditions(io.BytesIO(file)).thumbnail

    def prepare() -> Any:
        with Image.open(io.BytesIO(thumbnail)) as image:
            return encoder.prepare(image.convert("RGB"))

    batch = dict.fromkeys(range(BATCH), prepare())
    vectors = np.eye(BATCH, encoder.info.dimension, dtype=np.float32)
    entries = [milvus.Entry(key, 1, milvus.NO_TIME, vectors[key]) for key in range(BATCH)]
    milvus.ensure_collection("steps", encoder.info.dimension)
    measured: dict[str, tuple[Callable[[], Any], int]] = {
        "check the upload (decodes it)": (lambda: check_picture(io.BytesIO(file)), 1),
        "make both renditions": (lambda: make_renditions(io.BytesIO(file)), 1),
        "decode and prepare the thumbnail": (prepare, 1),
        f"embed, of a batch of {BATCH} (all cores)": (lambda: encoder.embed_prepared(batch), BATCH),
        f"upsert and seal, of a batch of {BATCH}": (lambda: milvus.upsert("steps", entries), BATCH),
    }
    rows = [
        [kind, step, f"{median_seconds(call) / share * 1e3:.1f}"]
        for step, (call, share) in measured.items()
    ]
    milvus.drop_collection("steps")
    return rows


def _configure(system: RunningSystem, model: Path) -> None:
    """Django in this process, on the running system's services."""
    os.environ |= published_environment(system.layout)
    os.environ |= {"VAR_DIR": str(system.layout.root), "SEARCH_ENCODER": str(model)}
    os.environ["DJANGO_SETTINGS_MODULE"] = "t2isearch.settings"
    import django

    django.setup()


if __name__ == "__main__":
    main()

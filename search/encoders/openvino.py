"""Towers in OpenVINO: converted from torch once, kept as files, compiled in each process.

The files lie under ``ENCODER_CACHE_DIR/openvino``, in a folder for each tower whose name says what
it was made from and with. They are derived: a missing or damaged one is made anew.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.encoders.base import EncoderInfo, Runtime
from search.encoders.runtimes import FLOAT32, INT8, openvino_version
from t2isearch.files import discard, make_directory

logger = logging.getLogger(__name__)

_MODEL = "model.xml"
_MANIFEST = "manifest.json"

# Raised when the way from a checkpoint to the files changes.
_METHOD = 2

# More streams than this leave each with too little work: a batch is shared out among them.
_MOST_STREAMS = 4
# Larger batches are slower: their activations leave the cache.
_LARGEST_PART = 8

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


class OpenVinoTower:
    """A compiled tower, with NumPy arrays in and out; safe to call from several threads."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        import openvino  # noqa: TID251 - optional, and loaded with the model

        self._streams = min(runtime.threads, _MOST_STREAMS)
        core = openvino.Core()
        # Read into memory: a file that is mapped and cut meanwhile ends the process.
        core.set_property({"ENABLE_MMAP": False})
        self._compiled = core.compile_model(
            folder / _MODEL,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[runtime.precision],
                "INFERENCE_NUM_THREADS": runtime.threads,
                # Cores that each work on images of their own wait for one another less.
                "NUM_STREAMS": self._streams,
                # The other worker processes are on these cores as well.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        count = len(next(iter(inputs.values())))
        size = min(_LARGEST_PART, -(-count // self._streams))
        starts = range(0, count, size)
        requests = self._take(min(len(starts), self._streams))
        rows: list[NDArray[np.float32]] = []
        try:
            for first in range(0, len(starts), len(requests)):
                running = list(zip(requests, starts[first : first + len(requests)], strict=False))
                for request, start in running:
                    request.start_async(
                        {name: values[start : start + size] for name, values in inputs.items()}
                    )
                for request, _start in running:
                    request.wait()
                    # A copy: the request's memory is written over by its next run.
                    rows.append(request.get_output_tensor(0).data.astype(np.float32, copy=True))
        finally:
            with self._lock:
                self._free += requests
        return np.concatenate(rows)

    def _take(self, count: int) -> list[Any]:
        with self._lock:
            taken, self._free = self._free[:count], self._free[count:]
        missing = count - len(taken)
        return taken + [self._compiled.create_infer_request() for _request in range(missing)]


def open_tower(
    info: EncoderInfo,
    part: str,
    runtime: Runtime,
    *,
    cache_dir: Path,
    make: Callable[[Path], Any],
) -> tuple[OpenVinoTower, Path]:
    """The compiled tower, and the folder with what was kept beside it.

    ``part`` is ``"image"`` or ``"text"``. Where nothing is kept yet, ``make`` is given an empty
    folder, may put files of its own there, and returns the model.
    """
    made_from = _made_from(info, part, runtime)
    folder = _folder(made_from, cache_dir=cache_dir)
    if _is_whole(folder, made_from):
        try:
            return OpenVinoTower(folder, runtime), folder
        except RuntimeError:
            logger.warning("%s is damaged and is made anew", folder, exc_info=True)
            discard(folder)
    elif folder.exists():
        logger.warning("%s is damaged and is made anew", folder)
    logger.info("converting the %s tower of %s for OpenVINO", part, info.name)
    make_directory(folder.parent)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _save(make(temporary), temporary, made_from)
        gc.collect()  # torch's copy of the weights
        if folder.exists() and not _is_whole(folder, made_from):
            discard(folder)
        try:
            temporary.rename(folder)
        except OSError:
            if not _is_whole(folder, made_from):  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_outdated(made_from, cache_dir=cache_dir)
    return OpenVinoTower(folder, runtime), folder


def kept_folder(info: EncoderInfo, part: str, runtime: Runtime, *, cache_dir: Path) -> Path:
    """Where a converted tower lies, or will lie once it has been needed."""
    return _folder(_made_from(info, part, runtime), cache_dir=cache_dir)


def _made_from(info: EncoderInfo, part: str, runtime: Runtime) -> dict[str, Any]:
    return {
        "method": _METHOD,
        "encoder": info.name,
        "revision": info.revision,
        "dimension": info.dimension,
        "part": part,
        # float32 and bfloat16 are worked out from the same float32 weights.
        "weights": INT8 if runtime.precision == INT8 else FLOAT32,
        "openvino": openvino_version(),
    }


def _folder(made_from: Mapping[str, Any], *, cache_dir: Path) -> Path:
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir / "openvino" / f"{made_from['part']}-{digest}"


def convert(module: Any, example: Mapping[str, Any]) -> Any:
    """An OpenVINO model of a torch module; every first axis, and a text's length, may vary."""
    import warnings

    import openvino  # noqa: TID251 - as above
    import torch  # noqa: TID251 - loaded with the model

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's, on branches that these models do not take
        model = openvino.convert_model(module, example_input=dict(example))
    if len(example) == 1:  # the converter names several, and numbers one
        model.inputs[0].get_tensor().set_names(set(example))
    shapes = {}
    for port in model.inputs:
        name = port.get_any_name()
        shape = list(example[name].shape)
        varying = 1 if example[name].is_floating_point() else 2
        shapes[name] = openvino.PartialShape([-1] * varying + shape[varying:])
    model.reshape(shapes)
    return model


def _save(model: Any, folder: Path, made_from: Mapping[str, Any]) -> None:
    import openvino  # noqa: TID251 - as above

    # Not compressed to float16: float32 is to mean the checkpoint's own numbers.
    openvino.save_model(model, folder / _MODEL, compress_to_fp16=False)
    digests = {path.name: _digest(path) for path in folder.iterdir()}
    (folder / _MANIFEST).write_text(json.dumps({"made_from": made_from, "files": digests}))


def _is_whole(folder: Path, made_from: Mapping[str, Any]) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        files: dict[str, Any] = manifest["files"]
        return (
            bool(manifest["made_from"] == made_from)
            and _MODEL in files
            and all(_digest(folder / name) == kept for name, kept in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _digest(file: Path) -> str:
    """A damaged model need not fail: it may just mean nothing. A second for a gigabyte."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _remove_outdated(made_from: Mapping[str, Any], *, cache_dir: Path) -> None:
    """Remove what was made from the same tower by another version of OpenVINO or of this code."""
    kept = _folder(made_from, cache_dir=cache_dir)
    for path in kept.parent.glob(f"*/{_MANIFEST}"):
        try:
            other = json.loads(path.read_bytes())["made_from"]
            outdated = other != made_from and {**other, **_versions(made_from)} == made_from
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if outdated:
            shutil.rmtree(path.parent, ignore_errors=True)


def _versions(made_from: Mapping[str, Any]) -> dict[str, Any]:
    return {name: made_from[name] for name in ("method", "openvino")}

"""Which runtime and precision are taken, and what an operator is told."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pytest_django import Settings

from search.encoders import (
    STARTER,
    EncoderInfo,
    EncoderUnavailable,
    ImageEncoder,
    choose_encoder,
    describe,
    describe_runtime,
    load_image_encoder,
    load_text_encoder,
    registry,
    runtimes,
)
from search.encoders.runtimes import choose_runtime
from tests.damages import damage, remove


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)


@pytest.fixture
def chip_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_openvino_capabilities", lambda: frozenset({"FP32", "INT8"}))
    monkeypatch.setattr(runtimes, "torch_has_bfloat16", lambda _device: False)


@pytest.fixture
def chip_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_openvino_capabilities", lambda: frozenset({"FP32", "BF16"}))


@pytest.fixture
def openvino_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "openvino")


def _hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if a package were not installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find_spec(name)
    )


def _chosen(runtime: str = "auto", precision: str = "auto", **tower: bool) -> tuple[str, str]:
    choice = choose_runtime(runtime, precision, **tower)
    assert choice.device == "cpu"
    assert choice.threads >= 1
    return choice.name, choice.precision


def test_auto_takes_openvino_in_bfloat16_where_the_chip_has_it(chip_with_bfloat16: None) -> None:
    assert _chosen() == ("openvino", "bfloat16")
    assert choose_runtime("auto", "auto").reason == (
        "OpenVINO: the fastest on a machine without a GPU; bfloat16, which this processor has "
        "arithmetic for."
    )
    assert _chosen(precision="float32") == ("openvino", "float32")
    assert _chosen(runtime="torch") == ("torch", "float32")


def test_auto_takes_float32_elsewhere(chip_without_bfloat16: None) -> None:
    assert _chosen() == ("openvino", "float32")
    for runtime in ("auto", "torch"):
        with pytest.raises(EncoderUnavailable, match="SEARCH_PRECISION=bfloat16 is asked for and"):
            choose_runtime(runtime, "bfloat16")


def test_without_openvino_torch_does_it(openvino_missing: None) -> None:
    assert _chosen() == ("torch", "float32")
    reason = choose_runtime("auto", "auto").reason
    assert reason.startswith("torch: OpenVINO, which is faster here, is not installed; float32")
    with pytest.raises(EncoderUnavailable) as error:
        choose_runtime("openvino", "auto")
    assert str(error.value) == (
        "OpenVINO is asked for and not installed: `pip install openvino` installs it."
    )


def test_a_model_that_openvino_cannot_take_runs_in_torch() -> None:
    assert _chosen(convertible=False) == ("torch", "float32")
    with pytest.raises(EncoderUnavailable, match="vary in their grid of patches"):
        choose_runtime("openvino", "auto", convertible=False)


def test_on_a_gpu_torch_takes_half_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "has_gpu", lambda: True)
    for has_bfloat16, precision in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(runtimes, "torch_has_bfloat16", lambda _device, has=has_bfloat16: has)
        choice = choose_runtime("auto", "auto")
        assert (choice.name, choice.device, choice.precision) == ("torch", "cuda", precision)
    # Openly asked for, OpenVINO is taken: it computes on the CPU.
    assert choose_runtime("openvino", "float32").device == "cpu"


def test_on_a_gpu_texts_are_embedded_in_float32(
    tiny_clip: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fast as with half the bits, and exact."""
    monkeypatch.setattr(runtimes, "has_gpu", lambda: True)
    monkeypatch.setattr(runtimes, "torch_has_bfloat16", lambda _device: True)
    info = describe(str(tiny_clip))
    report = describe_runtime(info)
    assert (report.image.runtime.precision, report.text.runtime.precision) == (
        "bfloat16",
        "float32",
    )
    assert report.text.runtime.reason == (
        "torch: there is a GPU; float32, which takes no longer for a short text."
    )
    settings.SEARCH_PRECISION = "bfloat16"
    assert describe_runtime(info).text.runtime.precision == "bfloat16"


def test_a_forked_worker_can_use_the_gpu_that_its_parent_has_seen() -> None:
    """As Celery's workers: whoever starts CUDA leaves none to the processes forked later."""
    program = """
import os, torch
from search.encoders import runtimes
device = "cuda" if runtimes.has_gpu() else "cpu"
child = os.fork()
if not child:
    print(torch.ones(2, device=device).sum().item(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert answer.stdout == "2.0\n", answer.stderr


def test_int8_is_another_generation_and_close_to_the_first(
    tiny_clip: Path, settings: Settings, pictures: dict[str, Image.Image]
) -> None:
    plain = describe(str(tiny_clip))
    settings.SEARCH_PRECISION = "int8"
    choice = choose_encoder(str(tiny_clip))
    quantised = describe(str(tiny_clip))
    assert choice.info == quantised
    assert quantised == EncoderInfo(plain.name, f"{plain.revision}+int8", plain.dimension)

    encoder = load_image_encoder(quantised)
    assert encoder.info == quantised
    assert (encoder.runtime.name, encoder.runtime.precision) == ("openvino", "int8")
    assert load_text_encoder(quantised).runtime.precision != "int8"

    # A generation that was built without int8 stays so, whatever is configured now; and back.
    kept = load_image_encoder(plain)
    assert kept.runtime.precision != "int8"
    settings.SEARCH_PRECISION = "auto"
    cosines = (_rows(encoder, pictures) * _rows(kept, pictures)).sum(axis=1)
    assert cosines.min() > 0.95
    assert cosines.min() < 0.99999  # it is quantised indeed


def test_int8_that_cannot_be_had_is_said_at_set_up(
    tiny_clip: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEARCH_PRECISION = "int8"
    settings.SEARCH_RUNTIME = "torch"
    with pytest.raises(EncoderUnavailable, match="int8 needs OpenVINO, which SEARCH_RUNTIME=torch"):
        choose_encoder(str(tiny_clip))
    settings.SEARCH_RUNTIME = "auto"
    _hide(monkeypatch, "nncf")
    with pytest.raises(EncoderUnavailable, match="int8 needs the package nncf"):
        choose_encoder(str(tiny_clip))


def test_what_is_configured_and_missing_is_said_at_set_up(
    tiny_clip: Path, settings: Settings, openvino_missing: None
) -> None:
    settings.SEARCH_RUNTIME = "openvino"
    for name in (str(tiny_clip), STARTER):
        with pytest.raises(EncoderUnavailable, match="OpenVINO is asked for and not installed"):
            choose_encoder(name)


def test_a_converted_tower_is_kept_mended_and_replaced(
    tiny_clip: Path,
    settings: Settings,
    tmp_path: Path,
    pictures: dict[str, Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SEARCH_PRECISION = "float32"
    settings.ENCODER_CACHE_DIR = tmp_path
    info = describe(str(tiny_clip))

    def load() -> ImageEncoder:
        registry.forget_loaded()
        return load_image_encoder(info)

    first = _rows(load(), pictures)
    (folder,) = (tmp_path / "openvino").iterdir()
    weights = folder / "model.bin"
    made_at = weights.stat().st_mtime_ns
    np.testing.assert_array_equal(_rows(load(), pictures), first)
    assert weights.stat().st_mtime_ns == made_at

    weights.write_bytes(weights.read_bytes()[:-100])
    assert (_rows(load(), pictures) * first).sum(axis=1).min() >= 0.99999
    assert weights.stat().st_mtime_ns != made_at

    # Of another version of OpenVINO: another folder, and the old one goes.
    versions: Any = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name == "openvino" else versions(name)
    )
    assert (_rows(load(), pictures) * first).sum(axis=1).min() >= 0.99999
    (replacement,) = (tmp_path / "openvino").iterdir()
    assert replacement != folder
    manifest = json.loads((replacement / "manifest.json").read_bytes())
    assert manifest["made_from"]["openvino"] == "1.0"


@pytest.mark.parametrize("how", ["halved", "zeroed", "a directory"])
def test_a_damaged_conversion_is_made_anew(
    tiny_clip: Path,
    settings: Settings,
    tmp_path: Path,
    pictures: dict[str, Image.Image],
    how: str,
) -> None:
    settings.SEARCH_PRECISION = "float32"
    settings.ENCODER_CACHE_DIR = tmp_path
    info = describe(str(tiny_clip))
    registry.forget_loaded()
    first = _rows(load_image_encoder(info), pictures)
    (folder,) = (tmp_path / "openvino").iterdir()
    for file in sorted(folder.iterdir()):
        damage(file, how)
        registry.forget_loaded()
        assert (_rows(load_image_encoder(info), pictures) * first).sum(axis=1).min() >= 0.99999
        assert file.is_file()


@pytest.mark.parametrize("how", ["emptied", "zeroed"])
def test_a_loaded_tower_does_not_need_its_files(
    tiny_clip: Path,
    settings: Settings,
    tmp_path: Path,
    pictures: dict[str, Image.Image],
    how: str,
) -> None:
    settings.SEARCH_PRECISION = "float32"
    settings.ENCODER_CACHE_DIR = tmp_path
    registry.forget_loaded()
    encoder = load_image_encoder(describe(str(tiny_clip)))
    first = _rows(encoder, pictures)
    damage(tmp_path / "openvino", how)
    np.testing.assert_array_equal(_rows(encoder, pictures), first)


def test_a_file_in_the_place_of_the_conversions_gives_way(
    tiny_clip: Path, settings: Settings, tmp_path: Path
) -> None:
    settings.SEARCH_PRECISION = "float32"
    settings.ENCODER_CACHE_DIR = tmp_path / "encoders"
    for place in (tmp_path / "encoders", tmp_path / "encoders" / "openvino"):
        remove(place)
        place.write_text("in the way")
        registry.forget_loaded()
        load_image_encoder(describe(str(tiny_clip)))
    (folder,) = (tmp_path / "encoders" / "openvino").iterdir()
    remove(folder)
    folder.write_text("in the way")
    registry.forget_loaded()
    load_image_encoder(describe(str(tiny_clip)))
    assert folder.is_dir()


def _rows(encoder: ImageEncoder, pictures: dict[str, Image.Image]) -> np.ndarray[Any, Any]:
    results = encoder.embed_images(dict(enumerate(pictures.values())))
    rows = [result for result in results.values() if isinstance(result, np.ndarray)]
    assert len(rows) == len(pictures)
    return np.stack(rows)

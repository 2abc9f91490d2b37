"""That the benchmarks say how they are called, and measure nothing that a chip can't do."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import encode
from benchmarks.measuring import NO_ARITHMETIC, gemm_flops
from search.encoders import runtimes

PROGRAMS = sorted(
    path.stem
    for path in Path(encode.__file__).parent.glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["encode", "gpu", "indexing", "query"])
def test_a_size_that_is_none(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "ViT-X/1"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 2
    assert "ViT-X/1" in capsys.readouterr().err


def test_bfloat16_is_not_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "torch_has_bfloat16", lambda device: False)
    assert gemm_flops("bfloat16") == 0
    limits = {"float32": 1e9, "bfloat16": 0.0}
    ways = [("torch", "bfloat16"), ("openvino", "bfloat16")]
    rows = encode._ours("ViT-B/32", "nowhere", np.zeros((1, 1)), 1.0, limits, ways)
    assert [row[1:3] for row in rows] == [[" ".join(way), NO_ARITHMETIC] for way in ways]

"""What an operator is told of an encoder, and what each process holds of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from search.encoders import describe, describe_runtime, load_image_encoder, load_text_encoder
from search.models import SearchIndex


def _shown(*arguments: str) -> dict[str, str]:
    out = io.StringIO()
    call_command("encoder_info", *arguments, stdout=out)
    return {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in out.getvalue().splitlines())
    }


def test_the_active_encoder_is_shown_with_its_runtimes_and_why(
    index: SearchIndex, settings: Settings
) -> None:
    shown = _shown("--no-memory")
    assert shown["encoder"] == index.encoder
    assert shown["revision"] == index.revision
    assert shown["dimension"] == "32"
    assert shown["family"] == "CLIP"
    report = describe_runtime(index.encoder_info)
    assert shown["image tower"].startswith(
        f"{report.image.runtime.name} {report.image.runtime.precision} on "
    )
    assert shown["why"] == report.text.runtime.reason


def test_another_encoder_can_be_asked_for(tiny_clip: Path, db: None) -> None:
    shown = _shown("--encoder", str(tiny_clip))
    assert shown["encoder"] == str(tiny_clip)
    assert shown["memory of a process with it"].endswith("MB")
    with pytest.raises(CommandError, match="There is no folder"):
        _shown("--encoder", "/nowhere/at/all")


PROGRAM = """
import sys, django, psutil
from django.conf import settings
settings.configure(
    ENCODER_CACHE_DIR=sys.argv[1], SEARCH_RUNTIME=sys.argv[2], SEARCH_PRECISION="auto",
    USE_I18N=False,
)
from search.encoders import describe, load_image_encoder, load_text_encoder
load = load_image_encoder if sys.argv[3] == "image" else load_text_encoder
encoder = load(describe(sys.argv[4]))
if "torch" in sys.modules:
    import gc, torch
    print(sum(name.startswith("model.text_model") for module in gc.get_objects()
              if isinstance(module, torch.nn.Module) for name, _ in module.named_parameters()) > 0,
          sum(name.startswith("model.vision_model") for module in gc.get_objects()
              if isinstance(module, torch.nn.Module) for name, _ in module.named_parameters()) > 0)
else:
    print("no torch")
"""


def test_a_process_holds_one_tower_only(tiny_clip: Path, settings: Settings) -> None:
    info = describe(str(tiny_clip))
    load_image_encoder(info)  # so that the conversions are there
    load_text_encoder(info)
    for runtime, side, expected in (
        ("torch", "image", "False True"),
        ("torch", "text", "True False"),
        ("openvino", "image", "no torch"),
        ("openvino", "text", "no torch"),
    ):
        result = subprocess.run(
            [
                *(sys.executable, "-c", PROGRAM, str(settings.ENCODER_CACHE_DIR)),
                *(runtime, side, str(tiny_clip)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert (result.stdout.strip(), result.returncode) == (expected, 0), result.stderr

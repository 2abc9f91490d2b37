"""What the encoders' tests share: a tiny CLIP, pictures, a hub, and a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from huggingface_hub import constants
from PIL import Image
from pytest_django import Settings

from search.encoders import registry
from tests.model_hub import ModelHub, running_model_hub
from tests.running_system import SHARED_ENCODERS
from tests.tiny_clip import save_tiny_clip
from tests.tiny_encoders import save_tiny


@pytest.fixture(scope="session")
def encoder_cache_dir() -> Path:
    """One for all tests: the starter's class embeddings take seconds to compute."""
    return Path(os.environ[SHARED_ENCODERS])


@pytest.fixture(autouse=True)
def _encoder_cache(settings: Settings, encoder_cache_dir: Path) -> None:
    settings.ENCODER_CACHE_DIR = encoder_cache_dir


@pytest.fixture(autouse=True)
def _own_encoders() -> None:
    """Encoders are loaded for each test, in the runtime that it asks for."""
    registry.forget_loaded()


@pytest.fixture(autouse=True)
def hub_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache for each test: the developer's own must not decide its outcome."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIP checkpoint; tests that change it copy it first."""
    return save_tiny_clip(tmp_path_factory.mktemp("tiny-clip"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder with a tiny checkpoint of a family, once; tests that change it copy it."""
    return cache(lambda family: save_tiny(family, tmp_path_factory.mktemp(family)))


@pytest.fixture
def model_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub that the process downloads from instead of the real one."""
    with running_model_hub() as hub:
        _use_hub(monkeypatch, hub.url)
        yield hub


@pytest.fixture
def unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens where the hub should be."""
    _use_hub(monkeypatch, "http://127.0.0.1:1")


def _use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )


@pytest.fixture(scope="session")
def pictures() -> dict[str, Image.Image]:
    """Photos that scikit-image ships, as RGB and as small as the gallery's rendition."""
    data: Any = skimage.data
    photos = {
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "rocket": data.rocket(),
        "astronaut": data.astronaut(),
        "motorcycle": data.stereo_motorcycle()[0],
    }
    images = {name: Image.fromarray(pixels).convert("RGB") for name, pixels in photos.items()}
    for image in images.values():
        image.thumbnail((512, 512))
    return images

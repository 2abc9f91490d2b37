"""What the towers run on in each process, as the processes say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from search import loaded_towers, status
from search.encoders import load_image_encoder, load_text_encoder, registry
from search.models import LoadedTower, SearchIndex


@pytest.fixture(autouse=True)
def _loaded_anew(index: SearchIndex, settings: Settings) -> Iterator[None]:
    settings.SEARCH_RUNTIME, settings.SEARCH_PRECISION = "torch", "float32"
    registry.forget_loaded()
    yield
    loaded_towers.name_process("")
    registry.forget_loaded()


def test_a_process_says_what_its_towers_run_on(index: SearchIndex) -> None:
    loaded_towers.name_process("worker@here")
    load_image_encoder(index.encoder_info)
    load_text_encoder(index.encoder_info)

    towers = {tower.part: tower for tower in status.loaded_towers()}

    assert set(towers) == {"image", "text"}
    image = towers["image"]
    assert (image.process, image.encoder) == ("worker@here", index.encoder)
    assert image.runtime.startswith("torch float32, cpu")
    assert "as configured" in image.reason
    assert image.resident_bytes > 10_000_000


def test_a_process_that_starts_anew_says_it_once(index: SearchIndex) -> None:
    loaded_towers.name_process("worker@here")
    for _start in range(2):
        registry.forget_loaded()
        load_image_encoder(index.encoder_info)
    assert LoadedTower.objects.count() == 1


def test_a_command_is_not_listed(index: SearchIndex) -> None:
    load_image_encoder(index.encoder_info)
    assert not LoadedTower.objects.exists()


def test_encoders_of_no_generation_are_not_shown(index: SearchIndex) -> None:
    LoadedTower.objects.create(process="web@there", part="text", encoder="gone", resident_bytes=1)
    assert status.loaded_towers() == []

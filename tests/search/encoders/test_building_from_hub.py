"""A build begins before the model is on the machine; whoever embeds first fetches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.test import Client

from accounts.models import User
from gallery.models import Photo
from search import status
from search.encoders import needs_download
from search.generations import start_build
from search.indexing import index_due_photos
from search.models import IndexRun, PhotoIndexing, SearchIndex
from tests.model_hub import COMMIT, ModelHub
from tests.tiny_clip import save_tiny_clip

Add = Callable[[User, int], Photo]


def test_the_worker_fetches_the_model(
    ann: User, add: Add, index: SearchIndex, model_hub: ModelHub, tmp_path: Path
) -> None:
    add(ann, 1)
    model_hub.models["someone/clip"] = save_tiny_clip(tmp_path / "model", seed=2, dimension=48)

    build = start_build("someone/clip", by=ann)

    assert (build.encoder, build.revision, build.dimension) == ("someone/clip", COMMIT, 48)
    assert not any("model.safetensors" in path for path in model_hub.requested)
    assert needs_download(build.encoder_info)
    assert next(each for each in status.generations() if each.is_building).fetches_model

    while index_due_photos():
        pass
    assert not needs_download(build.encoder_info)
    assert PhotoIndexing.objects.get(index=build).state == PhotoIndexing.State.DONE


def test_a_hub_that_goes_away_before_the_model_is_fetched(
    ann: User, add: Add, index: SearchIndex, model_hub: ModelHub, tmp_path: Path
) -> None:
    add(ann, 1)
    model_hub.models["someone/clip"] = save_tiny_clip(tmp_path / "model", seed=3)
    build = start_build("someone/clip", by=ann)
    model_hub.status = 503

    index_due_photos()

    assert "cannot be reached to finish it" in IndexRun.objects.get(index=build).error
    assert not PhotoIndexing.objects.filter(index=build, attempts__gt=0).exists()


def test_the_console_says_so(
    admin_client: Client, index: SearchIndex, model_hub: ModelHub, tmp_path: Path
) -> None:
    model_hub.models["someone/clip"] = save_tiny_clip(tmp_path / "model", seed=4)
    response = admin_client.post(
        "/admin/search/console/build/", {"build-encoder": "someone/clip"}, follow=True
    )
    page = response.content.decode()
    assert "has begun. The worker fetches the model first." in page

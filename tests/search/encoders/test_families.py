"""The towers of every family against transformers used the plain way, in each runtime."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251 - the reference
import transformers  # noqa: TID251 - the reference
from numpy.typing import NDArray
from PIL import Image
from pytest_django import Settings

from search.encoders import (
    EncoderUnavailable,
    EncodingError,
    ImageEncoder,
    TextEncoder,
    describe,
    load_image_encoder,
    load_text_encoder,
)
from search.encoders.families import FAMILIES
from search.encoders.preprocessing import Preprocessing, _middle
from search.encoders.runtimes import has_gpu, openvino_is_installed
from tests.tiny_clip import MAX_TOKENS

TEXTS = ["a cat", "a photo of a dog on the beach", "", "Ein Hund & 3 Katzen!", "一只猫在沙发上"]
RUNTIMES = ["torch", "openvino"]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def checkpoint(family: str, tiny_checkpoint: Callable[[str], Path]) -> Path:
    return tiny_checkpoint(family)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, family: str, settings: Settings) -> str:
    """Each runtime in float32, torch on the GPU where there is one."""
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is optional")
    if FAMILIES[family].varying_grid and request.param == "openvino":
        settings.SEARCH_RUNTIME = "auto"  # its images run in torch, its texts in OpenVINO
    else:
        settings.SEARCH_RUNTIME = request.param
    settings.SEARCH_PRECISION = "float32"
    return str(request.param)


@pytest.fixture
def images(runtime: str, checkpoint: Path) -> ImageEncoder:
    return _image_encoder(checkpoint, runtime)


@pytest.fixture
def texts(runtime: str, checkpoint: Path) -> TextEncoder:
    return _text_encoder(checkpoint, runtime)


@cache
def _image_encoder(checkpoint: Path, _runtime: str) -> ImageEncoder:
    return load_image_encoder(describe(str(checkpoint)))


@cache
def _text_encoder(checkpoint: Path, _runtime: str) -> TextEncoder:
    return load_text_encoder(describe(str(checkpoint)))


@cache
def _reference(checkpoint: Path) -> Any:
    model: Any = transformers.AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
    return model.eval()


def _plain_images(checkpoint: Path, pictures: list[Image.Image]) -> NDArray[np.float32]:
    """As the documentation of transformers has it."""
    load: Any = transformers.AutoImageProcessor.from_pretrained
    inputs = load(checkpoint, backend="pil")(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        return _unit(_reference(checkpoint).get_image_features(**inputs).pooler_output)


def _plain_texts(family: str, checkpoint: Path, texts: list[str]) -> NDArray[np.float32]:
    """As the documentation of transformers has it: SigLIP's texts lower-cased and unmasked."""
    load: Any = transformers.AutoTokenizer.from_pretrained
    is_siglip = family.startswith("siglip")
    tokens = load(checkpoint)(
        [text.lower() for text in texts] if is_siglip else texts,
        padding="max_length",
        max_length=MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    inputs = {"input_ids": tokens["input_ids"]}
    if not is_siglip:
        inputs["attention_mask"] = tokens["attention_mask"]
    with torch.inference_mode():
        return _unit(_reference(checkpoint).get_text_features(**inputs).pooler_output)


def _unit(rows: torch.Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = torch.nn.functional.normalize(rows).detach().numpy()
    return result


def _as_array(result: object) -> NDArray[np.float32]:
    assert isinstance(result, np.ndarray)
    return result


def _embedded(images: ImageEncoder, pictures: list[Image.Image]) -> NDArray[np.float32]:
    results = images.embed_images(dict(enumerate(pictures)))
    return np.stack([_as_array(results[number]) for number in range(len(pictures))])


def _assert_told_apart(rows: NDArray[np.float32], *, most: float = 0.99) -> None:
    """The vectors differ, or a comparison would prove nothing."""
    assert (rows @ rows.T)[~np.eye(len(rows), dtype=bool)].max() < most


def test_images_are_embedded_as_transformers_does(
    images: ImageEncoder, checkpoint: Path, pictures: dict[str, Image.Image]
) -> None:
    expected = _plain_images(checkpoint, list(pictures.values()))

    got = _embedded(images, list(pictures.values()))

    assert got.dtype == np.float32
    assert got.shape == (len(pictures), images.info.dimension)
    assert (got * expected).sum(axis=1).min() >= 0.99999
    _assert_told_apart(got)


def test_texts_are_embedded_as_transformers_does(
    texts: TextEncoder, family: str, checkpoint: Path
) -> None:
    expected = _plain_texts(family, checkpoint, TEXTS)

    got = texts.embed_texts(TEXTS)

    assert got.dtype == np.float32
    assert got.shape == (len(TEXTS), texts.info.dimension)
    assert (got * expected).sum(axis=1).min() >= 0.99999
    _assert_told_apart(got[:2], most=0.999)


def test_alone_equals_in_a_batch(
    images: ImageEncoder, texts: TextEncoder, pictures: dict[str, Image.Image]
) -> None:
    many = list(pictures.values()) * 4  # more than one part for a stream
    together = _embedded(images, many)
    for number, picture in enumerate(many[:7]):
        alone = images.embed_images({7: picture})[7]
        assert _as_array(alone) @ together[number] >= 0.99999

    batch = texts.embed_texts(TEXTS)
    for row, text in zip(batch, TEXTS, strict=True):
        assert texts.embed_texts([text])[0] @ row >= 0.99999


def test_an_unreadable_image_leaves_the_others_with_their_own_vectors(
    images: ImageEncoder, pictures: dict[str, Image.Image]
) -> None:
    file = io.BytesIO()
    pictures["coffee"].save(file, "JPEG")
    cut_short = Image.open(io.BytesIO(file.getvalue()[: file.tell() // 2]))

    results = images.embed_images({30: pictures["cat"], 20: cut_short, 10: pictures["rocket"]})

    assert list(results) == [30, 20, 10]
    assert isinstance(results[20], EncodingError)
    assert str(results[20]) == "The picture could not be read."
    for key, name in ((30, "cat"), (10, "rocket")):
        alone = images.embed_images({1: pictures[name]})[1]
        assert _as_array(results[key]) @ _as_array(alone) >= 0.99999


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (512, 340)])
def test_images_of_any_shape(images: ImageEncoder, size: tuple[int, int]) -> None:
    result = images.embed_images({1: Image.new("RGB", size, "orange")})[1]
    assert np.linalg.norm(_as_array(result)) == pytest.approx(1, abs=1e-5)


def test_a_text_beyond_the_models_limit_is_cut(texts: TextEncoder, family: str) -> None:
    limit = FAMILIES[family].max_tokens or MAX_TOKENS
    cut, whole = texts.embed_texts(["cat " * limit, "cat " * 200])
    assert cut @ whole >= 0.99999


def test_nothing_in_nothing_out(images: ImageEncoder, texts: TextEncoder) -> None:
    assert images.embed_images({}) == {}
    assert texts.embed_texts([]).shape == (0, texts.info.dimension)


def test_what_auto_chooses_gives_the_same_vectors(
    family: str,
    checkpoint: Path,
    settings: Settings,
    pictures: dict[str, Image.Image],
) -> None:
    """Whatever this machine has: the vectors of one generation mix."""
    assert (settings.SEARCH_RUNTIME, settings.SEARCH_PRECISION) == ("auto", "auto")
    info = describe(str(checkpoint))
    images, texts = load_image_encoder(info), load_text_encoder(info)

    got = _embedded(images, list(pictures.values()))
    assert (got * _plain_images(checkpoint, list(pictures.values()))).sum(axis=1).min() >= 0.9995
    words = texts.embed_texts(TEXTS)
    assert (words * _plain_texts(family, checkpoint, TEXTS)).sum(axis=1).min() >= 0.9995
    in_torch = FAMILIES[family].varying_grid or has_gpu() or not openvino_is_installed()
    assert images.runtime.name == ("torch" if in_torch else "openvino")
    assert images.runtime.device == ("cuda" if has_gpu() else "cpu")
    assert images.runtime.reason


def test_torch_in_bfloat16_gives_the_same_vectors(
    family: str, checkpoint: Path, settings: Settings, pictures: dict[str, Image.Image]
) -> None:
    settings.SEARCH_RUNTIME, settings.SEARCH_PRECISION = "torch", "bfloat16"
    try:
        images = load_image_encoder(describe(str(checkpoint)))
    except EncoderUnavailable as error:
        # A machine without the arithmetic refuses it rather than emulating it.
        assert "bfloat16" in str(error)  # noqa: PT017 - the other outcome is as good
        return
    got = _embedded(images, list(pictures.values()))
    assert (got * _plain_images(checkpoint, list(pictures.values()))).sum(axis=1).min() >= 0.9995


def test_of_a_strip_only_the_middle_is_resized() -> None:
    strip = Image.radial_gradient("L").convert("RGB").resize((1600, 1))
    prepare = Preprocessing(None, 224, (224, 224), Image.Resampling.BICUBIC, (1, 1, 1), (0, 0, 0))
    for turned in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        assert _middle(turned).size in {(16, 1), (1, 16)}
        assert prepare.pixels(turned)["pixel_values"].shape == (3, 224, 224)
    photo = Image.new("RGB", (640, 480))
    assert _middle(photo).size == photo.size


def test_preprocessing_is_done_without_transformers_where_it_is_simple(
    family: str, checkpoint: Path, tmp_path: Path, pictures: dict[str, Image.Image]
) -> None:
    load: Any = transformers.AutoImageProcessor.from_pretrained
    processor = load(checkpoint, backend="pil")
    ours = Preprocessing.of_processor(processor)
    if FAMILIES[family].varying_grid:
        assert ours is None
        return
    assert ours is not None
    ours.save(tmp_path / "preprocessing.json")
    kept = Preprocessing.load(tmp_path / "preprocessing.json")
    assert kept == ours
    for picture in (*pictures.values(), Image.new("L", (90, 40), 77)):
        expected = processor(images=picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(kept(picture)["pixel_values"], expected, atol=1e-4)

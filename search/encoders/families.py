"""The kinds of dual encoders that can be searched with, and how each wants its texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of dual encoder, as transformers implements it.

    ``image_projection`` and ``text_projection`` are the tensors that take each tower into the
    shared space; ``image_dimension_axis`` is the axis of the first that has the space's dimension
    (the second always has it in front). ``configured_dimension`` reads the dimension from a whole
    config.json, for a model whose weights are not here.
    """

    title: str
    model: str
    image_projection: str
    text_projection: str
    configured_dimension: Callable[[Mapping[str, Any]], int]
    image_dimension_axis: int = 0
    # The longest text in tokens that the family was trained with, where its positions allow more.
    max_tokens: int | None = None
    # Positions that no token can have: RoBERTa counts from after the padding's own.
    reserved_positions: int = 0
    # The text tower reads its last position, so that every text is padded to the limit.
    pads_to_limit: bool = False
    # Padding has to be hidden from the other tokens. Causal towers never look at what follows.
    masks_padding: bool = False
    # Trained on lower-cased texts; not every checkpoint's tokenizer sees to it.
    lower_cases: bool = False
    # Images keep their proportions, as a varying grid of patches.
    varying_grid: bool = False
    # One of them has to be there.
    tokenizer_files: tuple[str, ...] = ("tokenizer.json", "vocab.json")
    # What the text tower was trained to read, as ISO 639-1 codes; empty where checkpoints differ.
    languages: tuple[str, ...] = ()


def _projection_dim(default: int) -> Callable[[Mapping[str, Any]], int]:
    return lambda config: int(config.get("projection_dim") or default)


def _siglip_dimension(config: Mapping[str, Any]) -> int:
    text = config.get("text_config") or {}
    return int(text.get("projection_size") or text.get("hidden_size") or 768)


# SigLIP has no projection layers: its pooling heads end in the shared space.
_SIGLIP_IMAGE_HEAD = "vision_model.head.probe"
_SIGLIP_TEXT_HEAD = "text_model.head.weight"

# By the `model_type` of config.json. OpenCLIP's checkpoints for transformers are "clip", SigLIP 2's
# of a fixed resolution "siglip".
FAMILIES: dict[str, Family] = {
    "clip": Family(
        title="CLIP",
        model="CLIPModel",
        image_projection="visual_projection.weight",
        text_projection="text_projection.weight",
        configured_dimension=_projection_dim(512),
        languages=("en",),
    ),
    "siglip": Family(
        title="SigLIP",
        model="SiglipModel",
        image_projection=_SIGLIP_IMAGE_HEAD,
        text_projection=_SIGLIP_TEXT_HEAD,
        image_dimension_axis=2,
        configured_dimension=_siglip_dimension,
        pads_to_limit=True,
        lower_cases=True,
        tokenizer_files=("tokenizer.json", "spiece.model"),
    ),
    "siglip2": Family(
        title="SigLIP 2",
        model="Siglip2Model",
        image_projection=_SIGLIP_IMAGE_HEAD,
        text_projection=_SIGLIP_TEXT_HEAD,
        image_dimension_axis=2,
        configured_dimension=_siglip_dimension,
        pads_to_limit=True,
        lower_cases=True,
        varying_grid=True,
        tokenizer_files=("tokenizer.json",),
    ),
    "chinese_clip": Family(
        title="Chinese-CLIP",
        model="ChineseCLIPModel",
        image_projection="visual_projection.weight",
        text_projection="text_projection.weight",
        configured_dimension=_projection_dim(512),
        max_tokens=52,
        masks_padding=True,
        tokenizer_files=("tokenizer.json", "vocab.txt"),
        languages=("zh",),
    ),
    "altclip": Family(
        title="AltCLIP",
        model="AltCLIPModel",
        image_projection="visual_projection.weight",
        text_projection="text_projection.weight",
        configured_dimension=_projection_dim(768),
        max_tokens=77,
        reserved_positions=2,
        masks_padding=True,
        tokenizer_files=("tokenizer.json",),
        languages=("en", "zh"),
    ),
}

"""Encoders: photos and texts to vectors of one space. The models are loaded on first use."""

from __future__ import annotations

from search.encoders.base import (
    Embedding,
    EncoderInfo,
    EncoderUnavailable,
    EncodingError,
    ImageEncoder,
    Prepared,
    Runtime,
    TextEncoder,
)
from search.encoders.registry import (
    DEFAULT_CLIP,
    EncoderChoice,
    RuntimeReport,
    choose_encoder,
    describe,
    describe_runtime,
    load_image_encoder,
    load_text_encoder,
    needs_download,
    reads_beyond_english,
    tower_loaded,
)
from search.encoders.starter import STARTER

__all__ = [
    "DEFAULT_CLIP",
    "STARTER",
    "Embedding",
    "EncoderChoice",
    "EncoderInfo",
    "EncoderUnavailable",
    "EncodingError",
    "ImageEncoder",
    "Prepared",
    "Runtime",
    "RuntimeReport",
    "TextEncoder",
    "choose_encoder",
    "describe",
    "describe_runtime",
    "load_image_encoder",
    "load_text_encoder",
    "needs_download",
    "reads_beyond_english",
    "tower_loaded",
]

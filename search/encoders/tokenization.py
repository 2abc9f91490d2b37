"""From texts to a text tower's input.

A checkpoint's tokenizer is loaded by transformers, which knows each family's peculiarities. What it
comes to is kept as one file that the tokenizers library reads by itself, so that a process
whose tower runs in OpenVINO needs no transformers and no torch.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.encoders.checkpoints import Checkpoint

_SETTINGS = "tokenization.json"
_TOKENIZER = "tokenizer.json"


class Tokenization:
    """A checkpoint's tokenizer with its family's rules; safe to call from several threads.

    A batch is padded to its longest text where the family allows: a query of a few words costs a
    fraction of one padded to the model's limit, and the vector is the same. Longer texts are cut
    at the limit.
    """

    def __init__(self, definition: str, settings: dict[str, Any]) -> None:
        from tokenizers import Tokenizer

        self._definition = definition
        self._settings = settings
        self._tokenizer = Tokenizer.from_str(definition)
        # Set once: truncation and padding are state that calls in other threads would share.
        self._tokenizer.enable_truncation(
            settings["max_tokens"], direction=settings["truncation_side"]
        )
        self._tokenizer.enable_padding(
            length=settings["max_tokens"] if settings["pads_to_limit"] else None,
            direction=settings["padding_side"],
            pad_id=settings["pad_id"],
            pad_token=settings["pad_token"],
        )

    def __call__(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """``input_ids`` and, where the family wants it, ``attention_mask``: ``(n, length)``."""
        if self._settings["lower_cases"]:
            texts = [text.lower() for text in texts]
        encodings = self._tokenizer.encode_batch(list(texts))
        inputs = {"input_ids": np.array([each.ids for each in encodings], dtype=np.int64)}
        if self._settings["masks_padding"]:
            inputs["attention_mask"] = np.array(
                [each.attention_mask for each in encodings], dtype=np.int64
            )
        return inputs

    def save(self, folder: Path) -> None:
        (folder / _TOKENIZER).write_text(self._definition, encoding="utf-8")
        (folder / _SETTINGS).write_text(json.dumps(self._settings))

    @classmethod
    def load(cls, folder: Path) -> Tokenization:
        """What ``save`` wrote. Raises FileNotFoundError where it wrote nothing."""
        return cls(
            (folder / _TOKENIZER).read_text(encoding="utf-8"),
            json.loads((folder / _SETTINGS).read_bytes()),
        )


class SlowTokenization:
    """A tokenizer that exists in transformers only (SigLIP's, which is SentencePiece's)."""

    def __init__(self, tokenizer: Any, settings: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        if self._settings["lower_cases"]:
            texts = [text.lower() for text in texts]
        with self._lock:
            tokens = self._tokenizer(
                list(texts),
                padding="max_length" if self._settings["pads_to_limit"] else "longest",
                truncation=True,
                max_length=self._settings["max_tokens"],
                return_tensors="np",
            )
        wanted = ["input_ids", *(["attention_mask"] if self._settings["masks_padding"] else [])]
        return {name: tokens[name].astype(np.int64) for name in wanted}


def tokenization_of(checkpoint: Checkpoint) -> Tokenization | SlowTokenization:
    """Load a checkpoint's tokenizer by way of transformers."""
    import transformers  # noqa: TID251 - loaded with the model, not with the module

    from search.encoders.towers import quieten

    quieten()
    family = checkpoint.family
    load: Any = transformers.AutoTokenizer.from_pretrained
    tokenizer = load(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    config: Any = transformers.AutoConfig.from_pretrained(
        checkpoint.folder, local_files_only=True, trust_remote_code=False
    )
    limit = config.text_config.max_position_embeddings - family.reserved_positions
    settings = {
        "max_tokens": min(limit, family.max_tokens or limit),
        "pads_to_limit": family.pads_to_limit,
        "masks_padding": family.masks_padding,
        "lower_cases": family.lower_cases,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "pad_id": tokenizer.pad_token_id,
        "pad_token": tokenizer.pad_token,
    }
    if not tokenizer.is_fast:
        return SlowTokenization(tokenizer, settings)
    return Tokenization(tokenizer.backend_tokenizer.to_str(), settings)

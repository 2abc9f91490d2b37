"""A CLIP checkpoint of a few hundred kilobytes with random weights: real files, quickly made."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: TID251 - makes a model to test with
import transformers  # noqa: TID251 - as torch
from tokenizers.pre_tokenizers import ByteLevel

IMAGE_SIDE = 32
MAX_TOKENS = 16


def save_tiny_clip(
    folder: Path, *, seed: int = 0, dimension: int = 32, spread: float = 10.0
) -> Path:
    """Save a CLIP model with its tokenizer and image processor, and return the folder.

    The same seed gives the same weights. Its vectors mean nothing, but differ from picture to
    picture and from text to text (the more, the larger ``spread``, and the less like a trained
    model's), and text and image vectors have ``dimension`` numbers.
    """
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "initializer_factor": spread,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": IMAGE_SIDE,
            "patch_size": 8,
            "initializer_factor": spread,
        },
        projection_dim=dimension,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE},
        crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    ).save_pretrained(folder)
    return folder


def _tokenizer() -> transformers.CLIPTokenizer:
    """CLIP's tokenizer with single bytes and a few merges for its vocabulary."""
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("o", "f</w>")]
    alphabet = sorted(ByteLevel.alphabet())
    words = [
        *alphabet,
        *(f"{letter}</w>" for letter in alphabet),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        # A list of pairs is what it takes, though it says strings.
        merges=merges,  # type: ignore[arg-type]
        model_max_length=MAX_TOKENS,
    )

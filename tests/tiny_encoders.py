"""Checkpoints of each family with random weights: real files of a few hundred kilobytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch  # noqa: TID251 - makes models to test with
import transformers  # noqa: TID251 - as torch

from tests.tiny_clip import IMAGE_SIDE, MAX_TOKENS, save_tiny_clip

_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_VISION = _TOWER | {"image_size": IMAGE_SIDE, "patch_size": 8}
_SENTENCES = [
    "a photo of a cat", "a dog on the beach", "two people at a table", "the sun sets over the sea",
    "a red car in the street", "children play with a ball", "an old house by the river",
]  # fmt: skip
_CHINESE = "一只猫在沙发上两狗海边的红色汽车人山水"


def save_tiny(family: str, folder: Path) -> Path:
    """Save a model of ``family`` (a key of FAMILIES) with its tokenizer and image processor."""
    _SAVERS[family](folder)
    return folder


def _save(model: Any, folder: Path, *, text_spread: float = 2.0) -> None:
    # As initialised, small models take everything to nearly the same vector.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "norm" not in name.lower():
                parameter.mul_(text_spread if name.startswith("text") else 2.0)
    model.save_pretrained(folder)


def _save_siglip(folder: Path) -> None:
    model = folder / "spiece"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_prefix=str(model),
        vocab_size=40,
        unk_id=2,
        bos_id=-1,
        eos_id=1,
        pad_id=0,
        minloglevel=2,
    )
    model.with_suffix(".vocab").unlink()
    tokenizer = transformers.SiglipTokenizer(
        str(model.with_suffix(".model")), model_max_length=MAX_TOKENS
    )
    torch.manual_seed(0)
    _save(
        transformers.SiglipModel(
            transformers.SiglipConfig(text_config=_text(tokenizer), vision_config=_VISION)
        ),
        folder,
    )
    tokenizer.save_pretrained(folder)
    transformers.SiglipImageProcessorPil(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    ).save_pretrained(folder)


def _save_siglip2(folder: Path) -> None:
    letters = sorted({letter for sentence in _SENTENCES for letter in sentence.replace(" ", "▁")})
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = transformers.Siglip2Tokenizer(
        vocab={word: number for number, word in enumerate([*special, *letters])},
        merges=[],
        padding_side="right",
        model_max_length=MAX_TOKENS,
    )
    torch.manual_seed(0)
    _save(
        transformers.Siglip2Model(
            transformers.Siglip2Config(
                text_config=_text(tokenizer),
                vision_config=_TOWER | {"patch_size": 8, "num_patches": 16},
            )
        ),
        folder,
    )
    tokenizer.save_pretrained(folder)
    transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)


def _save_chinese_clip(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(_CHINESE), "cat", "dog"]
    folder.mkdir(parents=True, exist_ok=True)
    # As the published checkpoints have it: a list of words, and no tokenizer.json.
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    _save(
        transformers.ChineseCLIPModel(
            transformers.ChineseCLIPConfig(
                text_config=_TOWER
                | {"vocab_size": len(words), "max_position_embeddings": 128, "pad_token_id": 0},
                vision_config=_VISION,
                projection_dim=24,
            )
        ),
        folder,
    )
    transformers.ChineseCLIPImageProcessorPil(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    ).save_pretrained(folder)


def _save_altclip(folder: Path) -> None:
    letters = sorted({letter for sentence in _SENTENCES for letter in sentence.replace(" ", "▁")})
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = transformers.XLMRobertaTokenizer(
        vocab=[(word, 0.0) for word in special]
        + [(letter, -float(number + 1)) for number, letter in enumerate([*letters, *_CHINESE])]
        + [("<mask>", 0.0)],
    )
    torch.manual_seed(0)
    _save(
        transformers.AltCLIPModel(
            transformers.AltCLIPConfig(
                text_config=_TOWER
                | {
                    "vocab_size": len(tokenizer),
                    "max_position_embeddings": MAX_TOKENS + 2,
                    "project_dim": 28,
                    "pad_token_id": 1,
                },
                vision_config=_VISION,
                projection_dim=24,
            )
        ),
        folder,
        text_spread=5.0,
    )
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE},
        crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    ).save_pretrained(folder)


def _text(tokenizer: Any) -> dict[str, Any]:
    return _TOWER | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


_SAVERS: dict[str, Callable[[Path], Any]] = {
    "clip": lambda folder: save_tiny_clip(folder, spread=4.0),
    "siglip": _save_siglip,
    "siglip2": _save_siglip2,
    "chinese_clip": _save_chinese_clip,
    "altclip": _save_altclip,
}

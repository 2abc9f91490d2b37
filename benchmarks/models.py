"""Models of the usual sizes with random weights: speed does not depend on what they have learnt."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch  # noqa: TID251 - makes models to measure
import transformers  # noqa: TID251 - as torch

SIZES = ("ViT-B/32", "ViT-B/16", "SigLIP-B/16")


def save_model(size: str, folder: Path) -> Path:
    """Save a checkpoint with its image processor and a byte tokenizer; returns the folder."""
    torch.manual_seed(0)
    model: Any
    processor: Any
    if size.startswith("SigLIP"):
        model = transformers.SiglipModel(
            transformers.SiglipConfig(text_config={"vocab_size": 32000}, vision_config={})
        )
        processor = transformers.SiglipImageProcessorPil(size={"height": 224, "width": 224})
    else:
        vision = {"patch_size": int(size.rpartition("/")[2])}
        if size.startswith("ViT-L"):
            vision |= {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
            }
        model = transformers.CLIPModel(
            transformers.CLIPConfig(vision_config=vision, projection_dim=512)
        )
        processor = transformers.CLIPImageProcessorPil()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer = _byte_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


def model_folder(size: str) -> Path:
    """The checkpoint of a size, saved once for all runs on this machine."""
    folder = Path(tempfile.gettempdir()) / "t2isearch-benchmarks" / size.replace("/", "-")
    if not (folder / "tokenizer.json").exists():
        save_model(size, folder)
    return folder


def plain_model(folder: Path) -> tuple[Any, Any]:
    """A checkpoint's image processor and model as the tutorials load them, in float32."""
    load: Any = transformers.AutoImageProcessor.from_pretrained
    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    return load(folder, backend="pil"), model.eval()


def _byte_tokenizer() -> Any:
    """CLIP's tokenizer without merges: a token for each letter, its own ids for begin and end."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    vocab = {word: number for number, word in enumerate(words)}
    vocab |= {"<|startoftext|>": 30000, "<|endoftext|>": 30001}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=64)

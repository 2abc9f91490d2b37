"""One tower of a checkpoint in torch, by way of transformers.

Imported where a model is loaded, never with search.encoders: it takes seconds and 300 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch  # noqa: TID251 - this module is imported with a model only
import transformers  # noqa: TID251 - as torch
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from search.encoders.base import EncoderUnavailable, Runtime
from search.encoders.checkpoints import Checkpoint
from search.encoders.preprocessing import Preprocessing

Side = Literal["image", "text"]

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# On a CPU larger batches are slower: their activations leave the cache.
_CPU_BATCH = 8


class ImageTower(torch.nn.Module):
    """Images to the shared space: ``(n, dimension)``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pixel_values: torch.Tensor,
        pixel_attention_mask: torch.Tensor | None = None,
        spatial_shapes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The last two are for a varying grid of patches."""
        grid = (
            {"pixel_attention_mask": pixel_attention_mask, "spatial_shapes": spatial_shapes}
            if spatial_shapes is not None
            else {}
        )
        embeddings: torch.Tensor = self.model.get_image_features(
            pixel_values=pixel_values, **grid
        ).pooler_output
        return embeddings


class TextTower(torch.nn.Module):
    """Texts to the shared space: ``(n, dimension)``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        embeddings: torch.Tensor = self.model.get_text_features(
            input_ids=input_ids, attention_mask=attention_mask
        ).pooler_output
        return embeddings


class TorchTower:
    """A tower in torch, with NumPy arrays in and out; safe to call from several threads.

    With ``scaling`` it takes pixels as they are, uint8, and scales them itself: a quarter of the
    bytes to hand over, which a GPU waits for.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        runtime: Runtime,
        *,
        cpu_batch: int = _CPU_BATCH,
        scaling: Preprocessing | None = None,
        **placement: Any,
    ) -> None:
        self._device = runtime.device
        self._dtype = _DTYPES[runtime.precision]
        self._batch = cpu_batch if runtime.device == "cpu" else None
        self._placement = placement
        if runtime.device == "cpu":
            torch.set_num_threads(runtime.threads)
        self._module = module.eval().to(self._device, self._dtype, **placement)
        # In float32, whatever the tower's precision: the pixels are rounded once, when scaled.
        self._scaling = scaling and [
            torch.tensor(values, dtype=torch.float32, device=self._device).view(3, 1, 1)
            for values in (scaling.scale, scaling.offset)
        ]

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        count = len(next(iter(inputs.values())))
        parts = []
        with torch.inference_mode():
            for start in range(0, count, self._batch or count):
                tensors = {
                    name: self._tensor(values[start : start + (self._batch or count)])
                    for name, values in inputs.items()
                }
                parts.append(self._module(**tensors).float().cpu().numpy())
        rows: NDArray[np.float32] = np.concatenate(parts)
        return rows

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        if self._scaling and tensor.dtype == torch.uint8:
            scale, offset = self._scaling
            tensor = tensor.to(self._device).float() * scale + offset
        if tensor.is_floating_point():
            placement = self._placement if tensor.dim() == 4 else {}
            return tensor.to(self._device, self._dtype, **placement)
        return tensor.to(self._device)


def load_tower(checkpoint: Checkpoint, side: Side) -> torch.nn.Module:
    """One tower in float32 on the CPU; the other's weights are neither read nor held.

    Raises EncoderUnavailable when a weight is missing, which transformers would fill with random
    numbers.
    """
    quieten()
    config = transformers.AutoConfig.from_pretrained(
        checkpoint.folder, local_files_only=True, trust_remote_code=False
    )
    if hasattr(config, "projection_dim"):
        config.projection_dim = checkpoint.info.dimension
    other = "text_model" if side == "image" else "vision_model"
    model, report = _without(getattr(transformers, checkpoint.family.model), other).from_pretrained(
        checkpoint.folder,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise EncoderUnavailable(
            _("“%(name)s” lacks weights (%(tensor)s and %(count)d in all); fetch it again.")
            % {"name": checkpoint.info.name, "tensor": missing[0], "count": len(missing)}
        )
    tower = ImageTower(model) if side == "image" else TextTower(model)
    return tower.eval().requires_grad_(requires_grad=False)


def quieten() -> None:
    """No progress bars, and no lists of the other tower's weights as unexpected."""
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _without(model_class: Any, tower: str) -> Any:
    """``model_class`` without one of its towers.

    transformers makes a model without memory for its weights and then reads those it has places
    for, so what is left out costs nothing. The class keeps its name: transformers looks up by it
    how a family's tensors were called before.
    """

    def init(self: Any, config: Any) -> None:
        model_class.__init__(self, config)
        setattr(self, tower, None)

    return type(
        model_class.__name__,
        (model_class,),
        {"__init__": init, "__module__": model_class.__module__},
    )

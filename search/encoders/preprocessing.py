"""From a photo to a model's input: what a checkpoint's image processor does, without its cost.

transformers' own processors import torch (300 MB in a process that may need it for nothing else)
and take several times as long. One that does no more than resize, crop and scale is done here; any
other is used as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.encoders.base import Prepared

# Known to do nothing beside what their attributes say.
_PLAIN_PROCESSORS = {
    "CLIPImageProcessorPil",
    "SiglipImageProcessorPil",
    "ChineseCLIPImageProcessorPil",
}
_TOLERANCE = 1e-4
# Longer than that to its width, only the middle of a picture is resized before its centre is taken.
_LONGEST_STRIP = 16


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, take the centre, and scale each channel: ``value * scale + offset``.

    The image is resized to ``size``, ``(height, width)``, or until its shorter side is
    ``shortest_edge``; ``crop`` is ``(height, width)`` too.
    """

    size: tuple[int, int] | None
    shortest_edge: int | None
    crop: tuple[int, int] | None
    resample: int
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]

    def __call__(self, image: Image.Image) -> Prepared:
        """The model's input, ``pixel_values`` of shape ``(3, height, width)``, float32."""
        values = self.pixels(image)["pixel_values"].astype(np.float32)
        values *= np.asarray(self.scale, np.float32)[:, None, None]
        values += np.asarray(self.offset, np.float32)[:, None, None]
        return {"pixel_values": values}

    def pixels(self, image: Image.Image) -> Prepared:
        """The same before it is scaled, uint8: for a tower that scales, on its own device."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        if self.crop is not None:
            image = _middle(image)
        image = image.resize(self._resized(image.size), Image.Resampling(self.resample))
        if self.crop is not None:
            height, width = self.crop
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        return {"pixel_values": np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))}

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """``(width, height)``, as Pillow has it."""
        if self.size is not None:
            return self.size[1], self.size[0]
        assert self.shortest_edge is not None  # noqa: S101 - of_processor sees to it
        longer = int(self.shortest_edge * max(size) / min(size))
        width, height = size
        return (self.shortest_edge, longer) if width <= height else (longer, self.shortest_edge)

    @classmethod
    def of_processor(cls, processor: Any) -> Preprocessing | None:
        """What an image processor of transformers (for Pillow) does; None where that is more."""
        if type(processor).__name__ not in _PLAIN_PROCESSORS:
            return None
        if not (processor.do_resize and processor.do_rescale) or getattr(processor, "do_pad", None):
            return None
        size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
        whole = (int(size.height), int(size.width)) if size.height and size.width else None
        shortest = int(size.shortest_edge) if size.shortest_edge else None
        if (whole is None) == (shortest is None) or size.longest_edge:
            return None
        mean, deviation = (
            (processor.image_mean, processor.image_std)
            if processor.do_normalize
            else ([0.0], [1.0])
        )
        mean, deviation = (np.broadcast_to(np.asarray(v, np.float64), 3) for v in (mean, deviation))
        result = cls(
            size=whole,
            shortest_edge=shortest,
            crop=(int(crop.height), int(crop.width)) if crop else None,
            resample=int(processor.resample),
            scale=tuple(processor.rescale_factor / deviation),
            offset=tuple(-mean / deviation),
        )
        return result if result._agrees_with(processor) else None

    def _agrees_with(self, processor: Any) -> bool:
        """Whether the numbers are the processor's, for a wide and for a tall picture."""
        noise = np.random.default_rng(0).integers(0, 256, (310, 470, 3), dtype=np.uint8)
        for pixels in (noise, noise.transpose(1, 0, 2)):
            image = Image.fromarray(pixels)
            expected: NDArray[np.float32] = processor(images=image, return_tensors="np")[
                "pixel_values"
            ][0]
            got = self(image)["pixel_values"]
            if got.shape != expected.shape or not np.allclose(got, expected, atol=_TOLERANCE):
                return False
        return True

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Preprocessing:
        """Raises OSError, ValueError, TypeError or KeyError for what ``save`` has not written."""
        values: Any = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(path.read_bytes()).items()
        }
        return cls(**values)


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a strip: whole, one of 1600 × 1 pixels would be resized to 80 megapixels."""
    most = _LONGEST_STRIP * min(image.size)
    left, top = (max(0, (side - most) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))

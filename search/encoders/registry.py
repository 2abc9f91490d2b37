"""Which encoders there are, which one to use, and the ones that this process has loaded."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from django.conf import settings
from django.dispatch import Signal
from django.utils.translation import gettext as _
from PIL import Image

from search.encoders import checkpoints, openvino, quantisation, starter
from search.encoders.base import (
    EncoderInfo,
    EncoderUnavailable,
    ImageEncoder,
    Runtime,
    TextEncoder,
)
from search.encoders.checkpoints import Checkpoint
from search.encoders.runtimes import AUTO, FLOAT32, INT8, INT8_SUFFIX, OPENVINO, choose_runtime
from search.encoders.starter import STARTER, StarterImageEncoder, StarterTextEncoder
from search.encoders.transformers import TransformersImageEncoder, TransformersTextEncoder

logger = logging.getLogger(__name__)

DEFAULT_CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"

# Sent in the process that loaded a tower, with `info`, `part` ("image" or "text") and `runtime`.
tower_loaded = Signal()

# The active generation's and a building one's.
_MOST_LOADED = 2

_Encoder = TypeVar("_Encoder")


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder to use, and in a plain sentence why."""

    info: EncoderInfo
    reason: str


def describe(name: str) -> EncoderInfo:
    """Describe an encoder without loading it or fetching its weights.

    ``name`` is ``"starter"``, a folder, or a model's name on the hub, which ``@revision`` may
    follow. Raises EncoderUnavailable.
    """
    if name == STARTER:
        return starter.describe()
    return _in_precision(checkpoints.describe(name, cache_dir=_cache_dir()))


def needs_download(info: EncoderInfo) -> bool:
    """Whether the weights of exactly ``info`` are not on this machine and come from the hub."""
    return info.name != STARTER and checkpoints.needs_download(info)


def reads_beyond_english(info: EncoderInfo) -> bool | None:
    """Whether an encoder was trained on texts in other languages too; None where none can tell."""
    return info.name != STARTER and checkpoints.reads_beyond_english(_unquantised(info))


def choose_encoder(
    configured: str | None,
    *,
    timeout_s: float = 4.0,
    on_download: Callable[[str], None] | None = None,
) -> EncoderChoice:
    """Choose the encoder of a first index, downloading its weights where that is needed.

    A ``configured`` one is taken or refused: EncoderUnavailable says why it cannot be had. With
    None it is CLIP when its weights are here or the hub answers within ``timeout_s`` seconds, and
    the starter otherwise. ``on_download`` is called with a sentence before a download starts.
    """
    if configured == STARTER:
        return EncoderChoice(_starter(), _("The built-in starter encoder is used, as configured."))
    if configured is not None:
        info = _usable(
            checkpoints.obtain(configured, cache_dir=_cache_dir(), on_download=on_download)
        )
        return EncoderChoice(info, _("“%(name)s” is used, as configured.") % {"name": info.name})
    try:
        checkpoint = checkpoints.obtain(
            DEFAULT_CLIP, cache_dir=_cache_dir(), timeout_s=timeout_s, on_download=on_download
        )
    except EncoderUnavailable as error:
        return EncoderChoice(
            _starter(),
            _("%(problem)s The built-in starter encoder is used instead.") % {"problem": error},
        )
    info = _usable(checkpoint)
    return EncoderChoice(
        info,
        _("“%(name)s” is used: nothing is configured, and its weights are on this machine.")
        % {"name": info.name},
    )


@dataclass(frozen=True, slots=True)
class TowerReport:
    """How this machine runs one tower; ``kept_at`` is the conversion's folder, for OpenVINO."""

    runtime: Runtime
    kept_at: Path | None


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """An encoder as this machine runs it. ``languages`` are ISO 639-1 codes, empty if unknown."""

    info: EncoderInfo
    family: str
    languages: tuple[str, ...]
    image: TowerReport
    text: TowerReport


def describe_runtime(info: EncoderInfo) -> RuntimeReport:
    """What an encoder's towers run on and why, without loading them.

    For a model from the hub that is not on this machine this downloads it. Raises
    EncoderUnavailable.
    """
    if info.name == STARTER:
        family, own_info = _("starter"), _installed_starter(info)
        languages: tuple[str, ...] = ("en",)
        image_runtime = _starter_image_runtime()
    else:
        checkpoint = _open(info)
        family, languages = checkpoint.family.title, checkpoint.family.languages
        own_info = checkpoint.info
        image_runtime = _image_runtime(info, checkpoint)
    return RuntimeReport(
        info=info,
        family=family,
        languages=languages,
        image=_tower_report(own_info, "image", image_runtime),
        text=_tower_report(own_info, "text", _text_runtime()),
    )


def _tower_report(info: EncoderInfo, part: str, runtime: Runtime) -> TowerReport:
    kept_at = None
    if runtime.name == OPENVINO:
        kept_at = openvino.kept_folder(info, part, runtime, cache_dir=_cache_dir())
    return TowerReport(runtime, kept_at)


def load_image_encoder(info: EncoderInfo) -> ImageEncoder:
    """The image tower of exactly ``info``, loaded once in a process; safe to call from threads.

    Downloads the revision if it is not on this machine. Raises EncoderUnavailable.
    """
    return _image_encoders.get(info)


def load_text_encoder(info: EncoderInfo) -> TextEncoder:
    """The text tower of exactly ``info``; as load_image_encoder."""
    return _text_encoders.get(info)


def forget_loaded() -> None:
    """Load encoders anew when they are needed next, as after a change of the settings."""
    _image_encoders.forget()
    _text_encoders.forget()


# Threads that import torch or OpenVINO at the same time may wait for each other for ever.
_one_load_at_a_time = threading.RLock()


class _LoadedEncoders(Generic[_Encoder]):
    """The encoders of one kind that a process holds: each is loaded once, the latest are kept.

    While one is loaded, the others can be had.
    """

    def __init__(self, load: Callable[[EncoderInfo], _Encoder]) -> None:
        self._load = load
        self._loaded: OrderedDict[EncoderInfo, _Encoder] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, info: EncoderInfo) -> _Encoder:
        if (loaded := self._find(info)) is not None:
            return loaded
        with _one_load_at_a_time:
            # Perhaps by the thread that was waited for.
            if (loaded := self._find(info)) is not None:
                return loaded
            loaded = self._load_or_explain(info)
            with self._lock:
                self._loaded[info] = loaded
                while len(self._loaded) > _MOST_LOADED:
                    self._loaded.popitem(last=False)
            return loaded

    def _find(self, info: EncoderInfo) -> _Encoder | None:
        with self._lock:
            if info in self._loaded:
                self._loaded.move_to_end(info)
            return self._loaded.get(info)

    def forget(self) -> None:
        with self._lock:
            self._loaded.clear()

    def _load_or_explain(self, info: EncoderInfo) -> _Encoder:
        try:
            return self._load(info)
        except EncoderUnavailable:
            raise
        except Exception as error:
            logger.exception("The encoder %s could not be loaded", info)
            raise EncoderUnavailable(
                _("“%(name)s” could not be loaded (%(error)s); the log has the details.")
                % {"name": info.name, "error": type(error).__name__}
            ) from error


def _load_image_encoder(info: EncoderInfo) -> ImageEncoder:
    encoder = _open_image_encoder(info)
    # The first pass sets up what the others use.
    encoder.embed_images({0: Image.new("RGB", (64, 64))})
    tower_loaded.send_robust(None, info=info, part="image", runtime=encoder.runtime)
    return encoder


def _load_text_encoder(info: EncoderInfo) -> TextEncoder:
    encoder = _open_text_encoder(info)
    encoder.embed_texts(["a photo"])
    tower_loaded.send_robust(None, info=info, part="text", runtime=encoder.runtime)
    return encoder


def _open_image_encoder(info: EncoderInfo) -> ImageEncoder:
    if info.name == STARTER:
        return StarterImageEncoder(
            _installed_starter(info), _starter_image_runtime(), cache_dir=_cache_dir()
        )
    checkpoint = _open(info)
    return TransformersImageEncoder(
        checkpoint, info, _image_runtime(info, checkpoint), cache_dir=_cache_dir()
    )


def _open_text_encoder(info: EncoderInfo) -> TextEncoder:
    if info.name == STARTER:
        return StarterTextEncoder(_installed_starter(info), _text_runtime(), cache_dir=_cache_dir())
    return TransformersTextEncoder(_open(info), info, _text_runtime(), cache_dir=_cache_dir())


def _open(info: EncoderInfo) -> Checkpoint:
    return checkpoints.open_exactly(_unquantised(info), cache_dir=_cache_dir())


def _unquantised(info: EncoderInfo) -> EncoderInfo:
    """The checkpoint's own description, without what a generation adds to its revision."""
    return replace(info, revision=info.revision.removesuffix(INT8_SUFFIX))


def _in_precision(info: EncoderInfo) -> EncoderInfo:
    """What a generation made now would be called."""
    if settings.SEARCH_PRECISION != INT8:
        return info
    return replace(info, revision=info.revision + INT8_SUFFIX)


def _usable(checkpoint: Checkpoint) -> EncoderInfo:
    """Describe an encoder after seeing that this machine can run it as it is configured.

    Raises EncoderUnavailable, at set-up and not at the first photo.
    """
    info = _in_precision(checkpoint.info)
    if _image_runtime(info, checkpoint).precision == INT8:
        quantisation.require_nncf()
    _text_runtime()
    return info


def _starter() -> EncoderInfo:
    info = starter.describe()
    _text_runtime()
    return info


def _image_runtime(info: EncoderInfo, checkpoint: Checkpoint) -> Runtime:
    return choose_runtime(
        settings.SEARCH_RUNTIME,
        settings.SEARCH_PRECISION,
        quantised=info.revision.endswith(INT8_SUFFIX),
        convertible=not checkpoint.family.varying_grid,
    )


def _starter_image_runtime() -> Runtime:
    """Always float32: in bfloat16 the likeliest classes change, to a cosine of 0.995."""
    return replace(
        choose_runtime(settings.SEARCH_RUNTIME, FLOAT32),
        reason=_("The starter encoder's image classifier is exact enough in float32 only."),
    )


def _text_runtime() -> Runtime:
    """On a GPU in float32: a query is so short that half the bits would save no time."""
    chosen = choose_runtime(settings.SEARCH_RUNTIME, settings.SEARCH_PRECISION)
    if chosen.device == "cpu" or settings.SEARCH_PRECISION not in (AUTO, INT8):
        return chosen
    return replace(
        choose_runtime(settings.SEARCH_RUNTIME, FLOAT32),
        reason=_("torch: there is a GPU; float32, which takes no longer for a short text."),
    )


def _installed_starter(info: EncoderInfo) -> EncoderInfo:
    installed = starter.describe()
    if info != installed:
        raise EncoderUnavailable(
            _(
                "The index was built with revision %(built)s of the starter encoder and %(now)s is "
                "installed: rebuild the index."
            )
            % {"built": info.revision, "now": installed.revision}
        )
    return installed


def _cache_dir() -> Path:
    return Path(settings.ENCODER_CACHE_DIR)


_image_encoders = _LoadedEncoders(_load_image_encoder)
_text_encoders = _LoadedEncoders(_load_text_encoder)

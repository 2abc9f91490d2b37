"""Model checkpoints, in a folder or from the hub: which can be used, and where their files are.

Nothing here loads weights: a checkpoint is judged by its config.json and by the headers of its
safetensors files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from search.encoders import hub
from search.encoders.base import EncoderInfo, EncoderUnavailable
from search.encoders.families import FAMILIES, Family
from search.encoders.files import replacing

logger = logging.getLogger(__name__)

_HUB_TIMEOUT_S = 10.0
_MULTILINGUAL_VOCABULARY = 100_000
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint on this machine."""

    info: EncoderInfo
    folder: Path
    family: Family


class IncompleteCheckpoint(EncoderUnavailable):
    """Some of a checkpoint's files are missing or cut short."""


def describe(name: str, *, cache_dir: Path) -> EncoderInfo:
    """Describe a model in a folder, in the hub's cache or on the hub, without fetching its weights.

    ``name`` is a folder, or a hub name, which ``@revision`` may follow. What is on this machine is
    taken without asking the hub whether there is something newer. Raises EncoderUnavailable.
    """
    if (folder := _as_folder(name)) is not None:
        return _open_folder(folder, cache_dir=cache_dir).info
    repository, revision = _split_revision(name)
    if (checkpoint := _open_cached(repository, revision)) is not None:
        return checkpoint.info
    model = hub.look_up(repository, revision, timeout_s=_HUB_TIMEOUT_S)
    if not {hub.WEIGHTS, hub.WEIGHTS_INDEX} & model.files.keys():
        raise _no_safetensors(repository)
    if hub.CONFIG not in model.files:
        raise _no_config(repository)
    config = _read_config(hub.fetch_config(model, timeout_s=_HUB_TIMEOUT_S), label=repository)
    family = _family(config, label=repository)
    return EncoderInfo(repository, model.commit, family.configured_dimension(config))


def is_on_this_machine(name: str) -> bool:
    """Whether a hub model is whole in the hub's cache."""
    return _open_cached(*_split_revision(name)) is not None


def needs_download(info: EncoderInfo) -> bool:
    """Whether the very revision that ``info`` names comes from the hub and is not here yet."""
    if _as_folder(info.name) is not None:
        return False
    return not is_on_this_machine(f"{info.name}@{info.revision}")


def obtain(
    name: str,
    *,
    cache_dir: Path,
    timeout_s: float = _HUB_TIMEOUT_S,
    on_download: Callable[[str], None] | None = None,
) -> Checkpoint:
    """Open a model, after downloading from the hub what is not on this machine.

    ``timeout_s`` bounds the wait for the hub's first answer, not the download; ``on_download`` is
    called with a sentence before one starts. Raises EncoderUnavailable, and its subclass
    HubUnreachable when the hub would be needed and does not answer.
    """
    if (folder := _as_folder(name)) is not None:
        return _open_folder(folder, cache_dir=cache_dir)
    repository, revision = _split_revision(name)
    if (checkpoint := _open_cached(repository, revision)) is not None:
        return checkpoint
    try:
        model = hub.look_up(repository, revision, timeout_s=timeout_s)
    except hub.HubUnreachable:
        if hub.cached_snapshot(repository, revision) is None:
            raise
        raise hub.HubUnreachable(
            _(
                "The download of “%(name)s” stopped halfway, and the model hub cannot be reached "
                "to finish it."
            )
            % {"name": repository}
        ) from None
    if not {hub.WEIGHTS, hub.WEIGHTS_INDEX} & model.files.keys():
        raise _no_safetensors(repository)
    if on_download is not None:
        on_download(
            _("Downloading “%(name)s” (%(size)s) from the model hub.")
            % {"name": repository, "size": filesizeformat(model.download_bytes)}
        )
    return _open_snapshot(hub.download(model), repository=repository)


def reads_beyond_english(info: EncoderInfo) -> bool | None:
    """Whether a model was trained on texts in other languages too, as its config.json tells.

    None where that can't be told: it is not on this machine, or damaged.
    """
    folder = _as_folder(info.name) or hub.cached_snapshot(info.name, info.revision)
    if folder is None:
        return None
    try:
        config = _read_config(folder, label=info.name)
        family = _family(config, label=info.name)
    except EncoderUnavailable:
        return None
    if family.languages:
        return family.languages != ("en",)
    # SigLIPs: the vocabularies of the multilingual ones have 250,000 words, of the English 32,000.
    vocabulary = (config.get("text_config") or {}).get("vocab_size")
    return isinstance(vocabulary, int) and vocabulary >= _MULTILINGUAL_VOCABULARY


def open_exactly(info: EncoderInfo, *, cache_dir: Path) -> Checkpoint:
    """Open the very revision that ``info`` names, downloading it where it comes from the hub.

    Raises EncoderUnavailable also when a folder now holds something else: its vectors could not be
    compared with those made before.
    """
    folder = _as_folder(info.name)
    name = info.name if folder is not None else f"{info.name}@{info.revision}"
    checkpoint = obtain(name, cache_dir=cache_dir)
    if checkpoint.info != info:
        raise EncoderUnavailable(
            _(
                "“%(name)s” is no longer the model that the index was built with: put it back, or "
                "rebuild the index."
            )
            % {"name": info.name}
        )
    return checkpoint


def _as_folder(name: str) -> Path | None:
    """The folder that a name means, or None if it is a hub name."""
    path = Path(name).expanduser()
    looks_like_a_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    return path.resolve() if looks_like_a_path or path.is_dir() else None


def _split_revision(name: str) -> tuple[str, str | None]:
    repository, _separator, revision = name.partition("@")
    return repository, revision or None


def _open_folder(folder: Path, *, cache_dir: Path) -> Checkpoint:
    label = str(folder)
    if not folder.is_dir():
        raise EncoderUnavailable(_("There is no folder “%(name)s”.") % {"name": label})
    family, dimension = _inspect(folder, label=label)
    revision = _folder_revision(folder, cache_dir=cache_dir)
    return Checkpoint(EncoderInfo(label, revision, dimension), folder, family)


def _open_cached(repository: str, revision: str | None) -> Checkpoint | None:
    """A hub model from the hub's cache; None if it is not there or not whole."""
    folder = hub.cached_snapshot(repository, revision)
    if folder is None:
        return None
    try:
        return _open_snapshot(folder, repository=repository)
    except IncompleteCheckpoint:
        return None


def _open_snapshot(folder: Path, *, repository: str) -> Checkpoint:
    family, dimension = _inspect(folder, label=repository)
    return Checkpoint(EncoderInfo(repository, folder.name, dimension), folder, family)


def _inspect(folder: Path, *, label: str) -> tuple[Family, int]:
    """Check that a folder holds a whole dual encoder; its family and dimension.

    Raises EncoderUnavailable, and its subclass IncompleteCheckpoint for what another download
    could mend. ``label`` is what messages call the model.
    """
    family = _family(_read_config(folder, label=label), label=label)
    shapes = _tensor_shapes(folder, label=label)
    for tensor in (family.image_projection, family.text_projection):
        if tensor not in shapes:
            raise EncoderUnavailable(
                _(
                    "“%(name)s” has no projection into a space that images and texts share "
                    "(%(tensor)s is missing), so it cannot be searched with."
                )
                % {"name": label, "tensor": tensor}
            )
    image_dimension = shapes[family.image_projection][family.image_dimension_axis]
    dimension = shapes[family.text_projection][0]
    if image_dimension != dimension:
        raise EncoderUnavailable(
            _(
                "“%(name)s” takes images to %(images)d dimensions and texts to %(texts)d, so they "
                "share no space and it cannot be searched with."
            )
            % {"name": label, "images": image_dimension, "texts": dimension}
        )
    for alternatives in (_PROCESSOR_FILES, family.tokenizer_files):
        if not any((folder / file).is_file() for file in alternatives):
            raise _incomplete(label, alternatives[0])
    return family, dimension


def _read_config(folder: Path, *, label: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / hub.CONFIG).read_bytes())
    except FileNotFoundError:
        raise _no_config(label) from None
    except (OSError, ValueError):
        raise _damaged(label, hub.CONFIG) from None
    if not isinstance(config, dict):
        raise _damaged(label, hub.CONFIG)
    return config


def _family(config: dict[str, Any], *, label: str) -> Family:
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise EncoderUnavailable(
            _(
                "“%(name)s” is a model of the type “%(type)s”, which cannot be searched with; "
                "these can: %(known)s."
            )
            % {"name": label, "type": model_type or "?", "known": ", ".join(FAMILIES)}
        )
    return FAMILIES[model_type]


def _tensor_shapes(folder: Path, *, label: str) -> dict[str, list[int]]:
    """The shape of every tensor, from the headers of the weight files."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for path in _weight_files(folder, label=label):
        if not path.is_file():
            raise _incomplete(label, path.name)
        try:
            # Opening compares the header with the length of the file.
            with safe_open(path, framework="numpy") as file:
                for tensor in file.keys():  # noqa: SIM118 - no mapping
                    shapes[tensor] = file.get_slice(tensor).get_shape()
        except (OSError, SafetensorError):
            raise _damaged(label, path.name) from None
    return shapes


def _weight_files(folder: Path, *, label: str) -> list[Path]:
    """The weight files that should be there: one, or those that the index names."""
    index = folder / hub.WEIGHTS_INDEX
    if index.is_file():
        try:
            weight_map = json.loads(index.read_bytes())["weight_map"]
            return [folder / Path(name).name for name in sorted(set(weight_map.values()))]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise _damaged(label, index.name) from None
    if not (folder / hub.WEIGHTS).is_file() and any(folder.glob("pytorch_model*.bin")):
        raise _no_safetensors(label)
    return [folder / hub.WEIGHTS]


def _folder_revision(folder: Path, *, cache_dir: Path) -> str:
    """A short hash of everything in a folder that its vectors depend on.

    Kept under ``cache_dir`` with the files' sizes and times, so that gigabytes are read again only
    when one of them has changed.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in {".json", ".safetensors", ".txt", ".model"}
    )
    fingerprint = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    key = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    kept_at = cache_dir / f"folder-{key}.json"
    try:
        kept = json.loads(kept_at.read_bytes())
        if kept["fingerprint"] == fingerprint:
            return str(kept["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there yet, or damaged: it is derived

    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    revision = digest.hexdigest()[:12]
    try:
        with replacing(kept_at) as kept_file:
            kept_file.write(json.dumps({"fingerprint": fingerprint, "revision": revision}).encode())
    except OSError:
        logger.warning("%s could not be written: the next start hashes the model again", kept_at)
    return revision


def _no_config(label: str) -> IncompleteCheckpoint:
    return IncompleteCheckpoint(
        _("“%(name)s” holds no model: %(file)s is missing.") % {"name": label, "file": hub.CONFIG}
    )


def _incomplete(label: str, file: str) -> IncompleteCheckpoint:
    return IncompleteCheckpoint(
        _("“%(name)s” is incomplete: %(file)s is missing; fetch it again.")
        % {"name": label, "file": file}
    )


def _damaged(label: str, file: str) -> IncompleteCheckpoint:
    return IncompleteCheckpoint(
        _("%(file)s of “%(name)s” is damaged or cut short; fetch it again.")
        % {"name": label, "file": file}
    )


def _no_safetensors(label: str) -> EncoderUnavailable:
    return EncoderUnavailable(
        _(
            "“%(name)s” has no weights in the safetensors format; those in other formats can run "
            "code when they are loaded, and are not read."
        )
        % {"name": label}
    )

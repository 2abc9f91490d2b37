"""The model hub: what is in its cache on this machine, and fetching what is not.

Downloads go to the hub's usual cache (``HF_HOME``), where other programs' copies are found too.
``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and ``HF_TOKEN`` are honoured. huggingface_hub is imported in
the functions: it is slow to import, and most processes never ask the hub for anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from django.utils.translation import gettext as _

from search.encoders.base import EncoderUnavailable

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

# Everything an encoder reads, and nothing else: a repository often holds the same weights again
# for other frameworks.
_WANTED = (
    CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    "model-?????-of-?????.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
)

_Result = TypeVar("_Result")


class HubUnreachable(EncoderUnavailable):
    """The model hub did not answer in time, or HF_HUB_OFFLINE forbids asking it."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """One revision of a model as the hub knows it: its commit, and its files with their bytes.

    ``revision`` is what was asked for, a branch, a tag or a commit: fetching by that name lets the
    cache answer for the same name later, without the hub.
    """

    repository: str
    revision: str | None
    commit: str
    files: dict[str, int]

    @property
    def download_bytes(self) -> int:
        """The size of the files that an encoder needs."""
        return sum(
            size
            for name, size in self.files.items()
            if any(fnmatchcase(name, pattern) for pattern in _WANTED)
        )


def cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """The folder of a revision in the hub's cache, perhaps half-downloaded; None if there is none.

    Its name is the commit hash.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, CONFIG, revision=revision)
    except HFValidationError:
        raise EncoderUnavailable(
            _("“%(name)s” is neither a folder nor the name of a model on the model hub.")
            % {"name": repository}
        ) from None
    return Path(found).parent if isinstance(found, str) else None


def look_up(repository: str, revision: str | None, *, timeout_s: float) -> HubModel:
    """Ask the hub for a model's commit and files.

    Raises EncoderUnavailable when there is no such model or it may not be read, and
    HubUnreachable when the hub has not answered within ``timeout_s`` seconds.
    """
    from huggingface_hub import HfApi

    def ask() -> HubModel:
        info = HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=timeout_s
        )
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        return HubModel(repository, revision, str(info.sha), files)

    return _translating_errors(
        lambda: _within(timeout_s, ask), repository=repository, revision=revision
    )


def fetch_config(model: HubModel, *, timeout_s: float) -> Path:
    """Fetch nothing but a model's config.json, and return the folder that it lies in."""
    from huggingface_hub import hf_hub_download

    def fetch() -> Path:
        return Path(
            hf_hub_download(
                model.repository, CONFIG, revision=model.revision, etag_timeout=timeout_s
            )
        ).parent

    return _translating_errors(
        lambda: _within(timeout_s, fetch), repository=model.repository, revision=model.revision
    )


def download(model: HubModel) -> Path:
    """Fetch the files that an encoder needs, going on where an earlier download stopped.

    Shows the hub's own progress bars. Returns the folder, whose name is the commit hash.
    """
    from huggingface_hub import snapshot_download

    def fetch() -> Path:
        return Path(
            snapshot_download(
                model.repository, revision=model.revision, allow_patterns=list(_WANTED)
            )
        )

    return _translating_errors(fetch, repository=model.repository, revision=model.revision)


def _within(timeout_s: float, call: Callable[[], _Result]) -> _Result:
    """Call in a thread that is left behind after ``timeout_s`` seconds.

    The HTTP client's own limits do not cover name resolution, nor a server that sends one byte
    every few seconds.
    """
    result: list[_Result] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as exception:
            error.append(exception)

    thread = threading.Thread(target=run, daemon=True, name="model-hub")
    thread.start()
    thread.join(timeout_s)
    if error:
        raise error[0]
    if not result:
        raise TimeoutError
    return result[0]


def _translating_errors(
    call: Callable[[], _Result], *, repository: str, revision: str | None
) -> _Result:
    """Call, and turn what the hub's client raises into one sentence for an operator."""
    import httpx2
    from huggingface_hub import errors

    names = {"name": repository, "revision": revision or "main"}
    try:
        return call()
    except errors.HFValidationError:
        raise EncoderUnavailable(
            _("“%(name)s” is neither a folder nor the name of a model on the model hub.") % names
        ) from None
    except errors.OfflineModeIsEnabled:
        raise HubUnreachable(
            _("“%(name)s” is not on this machine, and HF_HUB_OFFLINE forbids downloading it.")
            % names
        ) from None
    except errors.GatedRepoError as error:
        raise EncoderUnavailable(
            _(
                "“%(name)s” is given out only to those who accepted its terms on the model hub: "
                "do so there and set HF_TOKEN."
            )
            % names
        ) from error
    except errors.RevisionNotFoundError as error:
        raise EncoderUnavailable(
            _("“%(name)s” has no revision “%(revision)s” on the model hub.") % names
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EncoderUnavailable(
            _(
                "There is no model “%(name)s” on the model hub, or it is private and HF_TOKEN is "
                "not set."
            )
            % names
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubUnreachable(
            _("The model hub could not give out “%(name)s”: it answered with HTTP %(status)s.")
            % {**names, "status": error.response.status_code}
        ) from error
    except (
        httpx2.TransportError,
        TimeoutError,
        ConnectionError,
        errors.LocalEntryNotFoundError,
        errors.XetDownloadError,
        ValueError,  # an answer that is not the hub's, such as a hotel network's sign-in page
    ) as error:
        raise HubUnreachable(
            _("“%(name)s” is not on this machine, and the model hub cannot be reached.") % names
        ) from error
    except OSError as error:
        raise EncoderUnavailable(
            _("“%(name)s” could not be stored: %(reason)s.")
            % {**names, "reason": error.strerror or error}
        ) from error

"""What the towers run on: torch or OpenVINO, and in which precision.

Nothing here imports torch: a process that runs its tower in OpenVINO has no other use for it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from functools import cache
from pathlib import Path

from django.utils.translation import gettext as _

from search.encoders.base import EncoderUnavailable, Runtime

AUTO = "auto"
TORCH = "torch"
OPENVINO = "openvino"
RUNTIMES = (AUTO, TORCH, OPENVINO)

FLOAT32 = "float32"
FLOAT16 = "float16"
BFLOAT16 = "bfloat16"
INT8 = "int8"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16, INT8)

INT8_SUFFIX = "+int8"

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def choose_runtime(
    runtime: str, precision: str, *, quantised: bool = False, convertible: bool = True
) -> Runtime:
    """The runtime for a tower, from what is configured and what this machine has.

    ``quantised`` towers are int8, which their generation's revision says, whatever ``precision``
    does. Every choice made for ``auto`` gives vectors that agree to a cosine of 0.9995, so
    that workers on different machines can fill one generation. ``convertible`` is false for a model
    that OpenVINO cannot take. Raises EncoderUnavailable for what is asked for and cannot be had.
    """
    if quantised:
        return _quantised(runtime, convertible=convertible)
    # An int8 generation is made anew; the ones that are there keep their precision.
    precision = AUTO if precision == INT8 else precision
    if runtime == OPENVINO:
        _require_openvino(convertible=convertible)
        return _on_openvino(precision, _("as configured"))
    if runtime == TORCH:
        return _on_torch(precision, _("as configured"))
    if has_gpu():
        return _on_torch(precision, _("there is a GPU"))
    if not openvino_is_installed():
        return _on_torch(precision, _("OpenVINO, which is faster here, is not installed"))
    if not convertible:
        return _on_torch(precision, _("OpenVINO cannot take this kind of model"))
    return _on_openvino(precision, _("the fastest on a machine without a GPU"))


def openvino_is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def openvino_version() -> str:
    return importlib.metadata.version("openvino")


@cache
def has_gpu() -> bool:
    """Whether torch can compute on a GPU here; torch is not asked where there is no driver."""
    if "+cpu" in importlib.metadata.version("torch"):
        return False
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    # By asking the driver's library, not by starting CUDA, which no forked worker could use then
    # (https://docs.pytorch.org/docs/stable/notes/cuda.html#environment-variables).
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch  # noqa: TID251 - only it knows whether it fits the driver

    return torch.cuda.is_available()


@cache
def available_cpus() -> int:
    """The cores that this process may use: its affinity, or fewer by a container's limit."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cpus = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit ("max"), or another system
        pass
    return cpus


def _quantised(runtime: str, *, convertible: bool) -> Runtime:
    if runtime == TORCH:
        raise EncoderUnavailable(
            _("int8 needs OpenVINO, which SEARCH_RUNTIME=torch rules out: set one of the two anew.")
        )
    _require_openvino(convertible=convertible)
    return Runtime(
        OPENVINO, INT8, "cpu", available_cpus(), _("The index is built with int8 vectors.")
    )


def _require_openvino(*, convertible: bool) -> None:
    if not openvino_is_installed():
        raise EncoderUnavailable(
            _("OpenVINO is asked for and not installed: `pip install openvino` installs it.")
        )
    if not convertible:
        raise EncoderUnavailable(
            _("OpenVINO cannot take a model whose images vary in their grid of patches: use torch.")
        )


def _on_openvino(precision: str, why: str) -> Runtime:
    has_bfloat16 = "BF16" in _openvino_capabilities()
    if precision == BFLOAT16 and not has_bfloat16:
        raise _no_bfloat16()
    if precision == FLOAT32:
        how = _("float32 as configured")
    elif precision == BFLOAT16:
        how = _("bfloat16 as configured")
    elif has_bfloat16:
        precision, how = BFLOAT16, _("bfloat16, which this processor has arithmetic for")
    else:
        precision, how = FLOAT32, _("float32, as this processor has no bfloat16 arithmetic")
    return Runtime(
        OPENVINO,
        precision,
        "cpu",
        available_cpus(),
        _("OpenVINO: %(why)s; %(how)s.") % {"why": why, "how": how},
    )


def _on_torch(precision: str, why: str) -> Runtime:
    device = "cuda" if has_gpu() else "cpu"
    if precision == BFLOAT16:
        if not torch_has_bfloat16(device):
            raise _no_bfloat16()
        how = _("bfloat16 as configured")
    elif precision == FLOAT32:
        how = _("float32 as configured")
    elif device == "cpu":
        precision, how = FLOAT32, _("float32, as nothing else is asked for")
    elif torch_has_bfloat16(device):
        precision, how = BFLOAT16, _("bfloat16, which this GPU has arithmetic for")
    else:
        precision, how = FLOAT16, _("float16, as this GPU has no bfloat16 arithmetic")
    return Runtime(
        TORCH,
        precision,
        device,
        available_cpus(),
        _("torch: %(why)s; %(how)s.") % {"why": why, "how": how},
    )


@cache
def _openvino_capabilities() -> frozenset[str]:
    import openvino  # noqa: TID251 - slow to import, and optional

    return frozenset(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def torch_has_bfloat16(device: str) -> bool:
    """Whether a `"cpu"` or `"cuda"` has arithmetic for it, and does not emulate it slowly."""
    import torch  # noqa: TID251 - as above

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _no_bfloat16() -> EncoderUnavailable:
    return EncoderUnavailable(
        _(
            "SEARCH_PRECISION=bfloat16 is asked for and this machine has no arithmetic for it: use "
            "auto."
        )
    )

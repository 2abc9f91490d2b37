"""Whether this Python has the packages that requirements.txt pins.

Only the standard library is used here, so that an interrupted installation gets a plain sentence.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;#]+)")


def installation_problem(requirements: Path = REQUIREMENTS) -> str | None:
    """One sentence saying what is missing or outdated, with what to do; None when all is there."""
    missing: list[str] = []
    outdated: list[str] = []
    for line in requirements.read_text().splitlines():
        if (pinned := _PINNED.match(line)) is None:
            continue
        try:
            # A local part ("2.13.0+cpu") names another build of the same release.
            installed = metadata.version(pinned["name"]).partition("+")[0]
        except metadata.PackageNotFoundError:
            missing.append(pinned["name"])
            continue
        if installed != pinned["version"]:
            outdated.append(f"{pinned['name']} {installed} (wanted: {pinned['version']})")
    if missing:
        return f"The installation is not complete, {_listed(missing)} missing: run `make install`."
    if outdated:
        return f"The installation is out of date, it has {', '.join(outdated)}: run `make install`."
    return None


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more packages"]
    if len(shown) == 1:
        return f"{shown[0]} is"
    return f"{', '.join(shown[:-1])} and {shown[-1]} are"

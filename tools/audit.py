"""Known vulnerabilities in what is installed: `python -m tools.audit`.

With a file of pinned requirements as its argument, in those alone. Asks the services that pip-audit
knows, PyPI first, then OSV. A vulnerability ends it with 1. Where no service can be reached nothing
was looked at: it says so in one line and ends with 0. (pip-audit itself ends with 1 then, as for a
vulnerability; or, where a mirror has no such interface and every package is merely not found, with
0 and "No known vulnerabilities".)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERVICES = ("pypi", "osv")
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Findings:
    """How many packages were looked up, which could not be, and what was found."""

    audited: int
    skipped: list[str]
    vulnerabilities: list[str]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("requirements", nargs="?")
    parser.add_argument("--osv-url", help="another service with the interface of OSV, asked alone")
    wanted = parser.parse_args(arguments)
    options = ["--requirement", wanted.requirements, "--no-deps", "--disable-pip"]
    options = options if wanted.requirements else []
    services = [["--vulnerability-service", name] for name in SERVICES]
    if wanted.osv_url:
        services = [["--vulnerability-service", "osv", "--osv-url", wanted.osv_url]]
    for service in services:
        found = findings(ask([*service, *options]))
        if found is None or not (found.audited or found.vulnerabilities):
            continue
        for line in found.vulnerabilities:
            say(line)
        if found.skipped:
            say(f"Not looked up: {', '.join(found.skipped)}.")
        say(f"{found.audited} packages looked up, {len(found.vulnerabilities)} vulnerabilities.")
        return 1 if found.vulnerabilities else 0
    say("No service for vulnerabilities can be reached: nothing was audited.")
    return 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def ask(options: Sequence[str]) -> str:
    """What pip-audit says as JSON; empty where it fails."""
    command = [
        sys.executable, "-m", "pip_audit", *options, "--format", "json",
        "--progress-spinner", "off", "--timeout", "10",
    ]  # fmt: skip
    try:
        # Its exit code is 1 for a vulnerability and for a fault of its own alike.
        return subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        ).stdout
    except subprocess.TimeoutExpired:
        return ""


def findings(answer: str) -> Findings | None:
    """Read pip-audit's JSON; None when it is none."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    looked_up = [each for each in dependencies if "skip_reason" not in each]
    return Findings(
        audited=len(looked_up),
        skipped=[each["name"] for each in dependencies if "skip_reason" in each],
        vulnerabilities=[
            f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in "
            f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            for each in looked_up
            for vulnerability in each["vulns"]
        ],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Who sends the files, and who is believed about clients, as the environment says it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2isearch.embedded.state import BASE_DIR


def ask_settings(
    tmp_path: Path, program: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from django.conf import settings\n{program}"],
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path)}
        | {"DJANGO_SETTINGS_MODULE": "t2isearch.settings", "S3_BUCKET": "photos"}
        | variables,
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )


def test_pages_may_show_pictures_from_there(tmp_path: Path) -> None:
    program = "print(settings.CONTENT_SECURITY_POLICY['DIRECTIVES']['img-src'])"
    public = {"S3_PUBLIC_ENDPOINT_URL": "https://files.example.org"}
    assert "https://files.example.org" in ask_settings(tmp_path, program, **public).stdout
    without = ask_settings(tmp_path, program, SERVE_FILES_WITH="django", **public)
    assert "files.example.org" not in without.stdout


@pytest.mark.parametrize(
    ("variables", "proxies"),
    [({}, "0"), ({"HTTPS": "true"}, "1"), ({"HTTPS": "true", "TRUSTED_PROXIES": "2"}, "2")],
)
def test_limits_by_address_know_the_proxies(
    tmp_path: Path, variables: dict[str, str], proxies: str
) -> None:
    program = "print(settings.REST_FRAMEWORK['NUM_PROXIES'], settings.ALLAUTH_TRUSTED_PROXY_COUNT)"
    assert ask_settings(tmp_path, program, **variables).stdout.split() == [proxies, proxies]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"S3_BUCKET": "", "SERVE_FILES_WITH": "redirect"}, "needs an S3_BUCKET"),
        ({"SERVE_FILES_WITH": "nginx"}, "needs the S3_ENDPOINT_URL"),
        ({"SERVE_FILES_WITH": "apache"}, "one of django, nginx, redirect"),
        ({"S3_ENDPOINT_URL": "minio:9000"}, "S3_ENDPOINT_URL must be http://host:port"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    asked = ask_settings(tmp_path, "settings.DEBUG", **variables)
    assert asked.returncode != 0
    assert sentence in asked.stderr

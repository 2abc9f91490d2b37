"""The services mode as it is written down: docker-compose.yml, Dockerfile and .dockerignore."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t2isearch.embedded.state import BASE_DIR
from tests.compose import COMPOSE_FILE, SECRETS, NotSet, compose, named_variables
from tests.configuration import environment_variables, example_variables

OURS = {"setup", "web", "worker", "indexer", "beat"}
# Addresses inside the file's own network: Milvus is not open to the outside and has no token there.
FIXED = {"VAR_DIR", "MILVUS_TOKEN", "DEBUG"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(SECRETS)["services"]
    return found


def test_it_fits_the_compose_schema() -> None:
    checked = subprocess.run(
        [
            *(Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema"),
            *("vendor.compose-spec", COMPOSE_FILE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_has_a_default(secret: str) -> None:
    with pytest.raises(NotSet, match=f"set {secret} in .env"):
        compose(SECRETS | {secret: ""})


def test_every_service_that_stays_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"setup"}
    for service in services.values():
        if "healthcheck" in service:
            assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])


def test_services_wait_for_those_they_need(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, wanted in service.get("depends_on", {}).items():
            condition = "service_completed_successfully" if name == "setup" else "service_healthy"
            assert wanted == {"condition": condition}
    for name in OURS:
        assert {"postgres", "redis", "milvus"} <= set(services[name]["depends_on"])
        assert ("setup" in services[name]["depends_on"]) == (name != "setup")


def test_data_lie_in_declared_volumes(services: dict[str, dict[str, Any]]) -> None:
    used = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
    }
    assert used == set(compose(SECRETS)["volumes"])
    var_dir = re.findall(r"VAR_DIR=(\S+)", (BASE_DIR / "Dockerfile").read_text())
    for name in OURS:
        assert services[name]["volumes"] == [f"data:{var_dir[0]}"]


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    images = {name: service["image"] for name, service in services.items() if name not in OURS}
    assert set(images) == {"postgres", "redis", "etcd", "minio", "milvus"}
    for image in images.values():
        assert re.search(r":(v?\d+\.\d+(\.\d+)?(-alpine)?|RELEASE\.[\dTZ-]+)$", image), image


def test_only_the_web_server_is_open_and_only_to_this_machine(
    services: dict[str, dict[str, Any]],
) -> None:
    assert {name for name, service in services.items() if "ports" in service} == {"web"}
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]


def test_every_variable_is_known(services: dict[str, dict[str, Any]]) -> None:
    assert named_variables() <= set(example_variables())
    for name in OURS:
        # Whatever a person sets in `.env` must arrive.
        assert set(services[name]["environment"]) == environment_variables() - FIXED


def test_the_image_holds_no_data_and_no_secrets() -> None:
    ignored = (BASE_DIR / ".dockerignore").read_text().split()
    # `.*` takes .git, .env, .venv and every tool's cache.
    assert {".*", "var", "**/__pycache__", "tests"} <= set(ignored)
    assert "!.env" not in ignored
    lines = (BASE_DIR / "Dockerfile").read_text().splitlines()
    assert lines.index("USER t2isearch") > lines.index("COPY . .")

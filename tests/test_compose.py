"""The services mode as it is written down: docker-compose.yml, Dockerfile and .dockerignore."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from t2isearch.embedded.state import BASE_DIR
from tests.compose import COMPOSE_FILE, SECRETS, NotSet, compose, named_variables
from tests.configuration import environment_variables, example_variables

OURS = {"setup", "web", "worker", "renditions", "indexer", "indexer-gpu", "beat"}
# Images that know no user but root (without its rights); those that write beside their data.
AS_ROOT = {"etcd", "minio", "milvus"}
WRITE_BESIDE_DATA = {"minio", "milvus"}
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
    mounts = {mount for service in services.values() for mount in service.get("volumes", [])}
    used = {mount.split(":")[0] for mount in mounts if not mount.startswith((".", "/"))}
    assert used == set(compose(SECRETS)["volumes"])
    for mount in mounts:
        if mount.startswith("."):
            here, _, mode = mount.split(":")
            assert (BASE_DIR / here).exists()
            assert mode == "ro"
    var_dir = re.findall(r"VAR_DIR=(\S+)", (BASE_DIR / "Dockerfile").read_text())
    for name in OURS:
        assert services[name]["volumes"] == [f"data:{var_dir[0]}", "/tmp"]  # noqa: S108
    assert f"data:{var_dir[0]}:ro" in services["nginx"]["volumes"]
    assert services["nginx"]["environment"]["DATA"] == var_dir[0]


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    images = {name: service["image"] for name, service in services.items() if name not in OURS}
    assert set(images) == {"nginx", "postgres", "redis", "etcd", "minio", "milvus"}
    pinned = re.compile(r":(v?\d+\.\d+(\.\d+)?(-alpine(-slim)?)?|RELEASE\.[\dTZ-]+)$")
    assert [image for image in images.values() if not pinned.search(image)] == []


def test_only_nginx_is_open_and_only_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "ports" in service} == {"nginx"}
    assert services["nginx"]["ports"] == ["127.0.0.1:8000:8080", "127.0.0.1:8443:8443"]


def test_services_have_no_rights_they_do_not_need(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service
        assert "cap_add" not in service
    assert {n for n in services if not services[n].get("read_only")} == WRITE_BESIDE_DATA
    # The Dockerfile says who our own processes run as.
    assert {n for n in services if n not in OURS and "user" not in services[n]} == AS_ROOT
    uid = re.findall(r"--uid (\d+)", (BASE_DIR / "Dockerfile").read_text())[0]
    # Photos are readable for their writer only.
    assert services["nginx"]["user"] == f"{uid}:0"


def test_no_service_takes_the_whole_machine(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])


def test_each_queue_has_workers_of_its_own(services: dict[str, dict[str, Any]]) -> None:
    served = {
        name: found[1]
        for name in OURS
        if (found := re.search(r" worker -Q (\S+)", services[name]["command"]))
    }
    assert {queue.name for queue in settings.CELERY_TASK_QUEUES} == set(served.values())
    assert served == {
        "worker": "default",
        "renditions": "renditions",
        "indexer": "index",
        "indexer-gpu": "index",
    }


def test_the_gpu_is_for_who_asks(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "profiles" in service} == {"indexer-gpu"}
    resources = services["indexer-gpu"]["deploy"]["resources"]
    assert resources["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert services["indexer-gpu"]["command"] == services["indexer"]["command"]


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

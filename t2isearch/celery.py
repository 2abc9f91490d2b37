"""The Celery application. Its settings are the `CELERY_…` ones of the Django settings."""

from __future__ import annotations

import os

from celery import Celery

from t2isearch.broker import use_whole_files

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "t2isearch.settings")
use_whole_files()

app = Celery("t2isearch")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def ping_broker() -> None:
    """Raises what kombu raises when the broker does not answer within two seconds or so."""
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)

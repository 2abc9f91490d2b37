"""The WSGI entry point: what t2isearch.front runs in its threads."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "t2isearch.settings")

application = get_wsgi_application()

from search.loaded_towers import name_web_process  # noqa: E402 - needs the settings

name_web_process()

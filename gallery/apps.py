from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GalleryConfig(AppConfig):
    name = "gallery"
    verbose_name = _("Gallery")

    def ready(self) -> None:
        from gallery import receivers  # noqa: F401 - connects them
        from gallery.formats import register_formats
        from t2isearch import lookups  # noqa: F401 - registers them

        register_formats()

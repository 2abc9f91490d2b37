from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GalleryConfig(AppConfig):
    name = "gallery"
    verbose_name = _("Gallery")

    def ready(self) -> None:
        import pillow_heif
        from PIL import Image

        from gallery import receivers  # noqa: F401 - connects them

        Image.init()
        pillow_heif.register_heif_opener()

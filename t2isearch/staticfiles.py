"""Static files under names that hold their content's hash, also inside our scripts."""

from __future__ import annotations

import logging
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage

logger = logging.getLogger(__name__)


class StaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Whitenoise's storage, which also rewrites what one of our modules imports from another.

    Without that a browser could run a new script with an old module of it. Django's own switch
    (`support_js_module_import_aggregation`) takes in the scripts of every package, and some of
    those import what is not there.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("js/*.js", ((r"""(?P<matched>from\s*["'](?P<url>\./.*?)["'])""", 'from "%(url)s"'),)),
    )

    def load_manifest(self) -> tuple[dict[str, Any], str]:
        """Django's, in which a damaged one keeps `collectstatic` from making another."""
        try:
            paths, digest = super().load_manifest()
        except (OSError, ValueError, AttributeError) as error:
            logger.warning("%s: `manage.py collectstatic` makes it anew", error)
            return {}, ""
        return (paths, digest) if isinstance(paths, dict) else ({}, "")

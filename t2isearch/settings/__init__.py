"""The settings of every mode: what differs between them comes from the environment alone."""

from t2isearch.settings.base import *  # noqa: F403

"""Saving a row that may have been deleted meanwhile."""

from __future__ import annotations

from typing import Any

from django.db import models


class StaysDeleted(models.Model):
    """A row that `save` never brings back.

    By itself Django adds what it finds no row to update for, and so undoes what another request has
    just deleted.
    """

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As ever.

        Raises:
            DatabaseError: the row was read, and is no longer there.
        """
        if not self._state.adding and not args and not kwargs.get("force_insert"):
            kwargs["force_update"] = True
        super().save(*args, **kwargs)

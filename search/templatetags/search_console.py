"""How the console writes times and what was stored untranslated."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.translation import gettext as _

register = template.Library()

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@register.filter
def duration(span: timedelta | None) -> str:
    """A span in its two largest units: “8 s”, “3 min 20 s”, “2 h 5 min”, “4 d 1 h”."""
    if span is None:
        return ""
    seconds = max(0, round(span.total_seconds()))
    if seconds < _MINUTE:
        return _("%(seconds)d s") % {"seconds": seconds}
    if seconds < _HOUR:
        large, small = _("%(n)d min") % {"n": seconds // _MINUTE}, seconds % _MINUTE
        return f"{large} {_('%(n)d s') % {'n': small}}" if small else large
    if seconds < _DAY:
        large, small = _("%(n)d h") % {"n": seconds // _HOUR}, seconds % _HOUR // _MINUTE
        return f"{large} {_('%(n)d min') % {'n': small}}" if small else large
    large, small = _("%(n)d d") % {"n": seconds // _DAY}, seconds % _DAY // _HOUR
    return f"{large} {_('%(n)d h') % {'n': small}}" if small else large


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago a moment was: “8 s ago”."""
    if moment is None:
        return ""
    return _("%(span)s ago") % {"span": duration(timezone.now() - moment)}


@register.filter
def translated(stored: str) -> str:
    """A sentence that was stored untranslated, in the reader's language where it is known."""
    return _(stored) if stored else ""

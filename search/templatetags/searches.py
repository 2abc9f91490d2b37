"""What pages of other apps show of the search."""

from __future__ import annotations

from django import template
from django.contrib.auth.models import AnonymousUser

from accounts.models import User
from search.history import saved_searches
from search.models import SavedSearch
from search.saved_views import address_of

register = template.Library()


@register.simple_tag
def saved_searches_of(user: User | AnonymousUser) -> list[SavedSearch]:
    """The person's saved searches; none for nobody."""
    return list(saved_searches(user)) if isinstance(user, User) else []


@register.filter
def search_address(saved: SavedSearch) -> str:
    """Where the results of a saved search are."""
    return address_of(saved)

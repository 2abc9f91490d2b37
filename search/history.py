"""Finding the way back: recent searches, saved ones, and what to suggest while somebody types."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from gallery.models import Album
from search.models import RecentSearch, SavedSearch
from search.planning import Filter, FilterKind, Plan, QueryError, parse

MOST_RECENT = 20
MOST_SUGGESTED = 8
LONGEST_REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Something to search for. `kind` is `recent`, `saved` or `album`."""

    kind: str
    label: str
    query: str


def remember_search(owner: User, plan: Plan) -> None:
    """Put a search at the head of the person's recent ones, of which the last 20 are kept.

    One by a picture is not remembered: the picture is not kept either.
    """
    text = str(plan)
    if not plan or plan.image_ids or len(text) > LONGEST_REMEMBERED:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        # Nobody has to wait for the disk: the worst is a search that is not remembered.
        cursor.execute("SET LOCAL synchronous_commit TO off")
        RecentSearch.objects.bulk_create(
            [RecentSearch(owner=owner, query=text, asked_at=timezone.now())],
            update_conflicts=True,
            unique_fields=["owner", "query"],
            update_fields=["asked_at"],
        )
        kept = recent_searches(owner).values("pk")[:MOST_RECENT]
        recent_searches(owner).exclude(pk__in=kept).delete()


def forget_searches(owner: User) -> None:
    """Clear the person's recent searches."""
    RecentSearch.objects.filter(owner=owner).delete()


def recent_searches(owner: User) -> QuerySet[RecentSearch]:
    return RecentSearch.objects.filter(owner=owner)


def saved_searches(owner: User) -> QuerySet[SavedSearch]:
    return SavedSearch.objects.filter(owner=owner)


def save_search(*, owner: User, name: str, query: str, by_date: bool) -> SavedSearch:
    """Give a search a name.

    Raises:
        ValidationError: the person has one of that name.
    """
    saved = SavedSearch(owner=owner, name=" ".join(name.split()), query=query, by_date=by_date)
    saved.full_clean()
    saved.save()
    return saved


def suggestions(owner: User, typed: str) -> list[Suggestion]:
    """What the person may be about to type: saved searches, albums, then recent searches.

    With nothing typed, the recent searches. Albums are added to what is typed before them.
    """
    typed = typed.strip()
    if not typed:
        recent = recent_searches(owner)[:MOST_SUGGESTED]
        return [Suggestion("recent", each.query, each.query) for each in recent]
    found = [
        Suggestion("saved", each.name, each.query)
        for each in saved_searches(owner).filter(name__icontains=typed)[:3]
    ]
    before, _, last = typed.rpartition(" ")
    part = last.lower().removeprefix("album:").strip('"“')
    if len(part) > 1:
        for album in Album.objects.owned_by(owner).filter(title__icontains=part)[:3]:
            query = _with_album(before, album)
            if query:
                found.append(Suggestion("album", album.title, query))
    queries = {each.query for each in found} | {typed}
    recent = recent_searches(owner).filter(query__icontains=typed)[:MOST_SUGGESTED]
    found += [
        Suggestion("recent", each.query, each.query) for each in recent if each.query not in queries
    ]
    return found[:MOST_SUGGESTED]


def _with_album(typed: str, album: Album) -> str:
    try:
        plan = parse(typed)
    except QueryError:
        return ""
    return str(plan.with_parts(Filter(FilterKind.ALBUM, " ".join(album.title.split()))))

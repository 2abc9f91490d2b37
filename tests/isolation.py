"""What each address of the site answers to whom: the table, and a person whose things it protects.

`ROUTES` has a row for each URL pattern and `OPERATIONS` one for each operation of the API's schema.
`tests/test_isolation.py` asks them all, and fails by name where a row is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.db.models import ForeignKey, OneToOneField
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import URLResolver
from django.utils import timezone
from django.utils.http import int_to_base36

from accounts.models import Scope, User
from accounts.tokens import create_password_token, create_token
from gallery.albums import add_to_album, create_album
from gallery.models import AlbumPhoto, Photo
from gallery.partial_uploads import start_upload
from gallery.sharing import revoke, share
from gallery.trash import move_to_trash
from search.history import save_search
from search.models import (
    DuplicateScan,
    ImageQuery,
    IndexRun,
    LoadedTower,
    PhotoIndexing,
    RecentSearch,
    SearchIndex,
    WorkerHeartbeat,
)
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

Add = Callable[..., Photo]
FIRST_KEY = 7_000_000_000


class Access(Enum):
    """Who gets what from an address."""

    PUBLIC = "everybody the same, and nothing of anybody's"
    OWN = "a signed-in person, about what is the person's own"
    ANOTHERS = "the owner of what is named in it; for others it does not exist"
    LINK = "whoever has the secret in it, what was shared and nothing else"
    STAFF = "staff with the permission"
    MACHINE = "this machine itself"
    API = "as `OPERATIONS` say"


@dataclass(frozen=True)
class Ask:
    """One request, and its status for whom it is meant and for others.

    `path` and the values of `data` may name the things of a `World` in braces.
    """

    method: str
    path: str
    data: dict[str, Any] = field(default_factory=dict)
    # For ann or, of an address for staff, who has all permissions; None: not asked by them.
    allowed: int | None = 200
    # For another person; None: as for ann.
    others: int | None = None
    # For who is not signed in; None: sent to sign in.
    nobody: int | None = None
    # For ben alone, where his own things are in it; None: as for others.
    ben: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    access: Access
    asks: tuple[Ask, ...] = ()


def get(path: str, allowed: int | None = 200, **statuses: Any) -> Ask:
    return Ask("GET", path, allowed=allowed, **statuses)


def post(
    path: str,
    allowed: int | None = 302,
    *,
    others: int | None = None,
    ben: int | None = None,
    **data: Any,
) -> Ask:
    return Ask("POST", path, data, allowed=allowed, others=others, ben=ben)


def public(*asks: Ask) -> Row:
    return Row(Access.PUBLIC, asks)


def own(*asks: Ask) -> Row:
    return Row(Access.OWN, asks)


def anothers(*asks: Ask) -> Row:
    return Row(Access.ANOTHERS, asks)


def link(*asks: Ask) -> Row:
    return Row(Access.LINK, asks)


def staff(*asks: Ask) -> Row:
    return Row(Access.STAFF, asks)


API = Row(Access.API)
# What a piece of a resumable upload comes with.
PIECE = {
    "Tus-Resumable": "1.0.0",
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
BOTH = "{secret},{shared}"


def _files(pattern: str, *variants: str, **statuses: Any) -> tuple[Ask, ...]:
    return tuple(get(pattern + f"{variant}/", **statuses) for variant in variants)


def _admin_of(model: str, key: str, **granted: int) -> dict[str, Row]:
    """The rows of one model's pages in the admin; `granted` is the status of those not answered."""
    base = f"/admin/{model.replace('_', '/', 1)}/"
    pages = {
        "changelist": base,
        "add": f"{base}add/",
        "history": f"{base}{key}/history/",
        "delete": f"{base}{key}/delete/",
        "change": f"{base}{key}/change/",
    }
    rows = {
        f"admin:{model}_{page}": staff(
            get(path, granted.get(page, 200)), post(path, None, post="yes")
        )
        for page, path in pages.items()
    }
    return rows | {f"{base[1:]}<path:object_id>/": staff(get(f"{base}{key}/", 302, others=302))}


ROUTES: dict[str, Row] = {
    # Photos
    "gallery:photos": own(get("/")),
    "gallery:favourites": own(get("/favourites/")),
    "gallery:timeline-days": own(
        get("/timeline/days/"),
        get("/timeline/days/?trash=1"),
        get("/timeline/days/?album={album}", others=404),
    ),
    "gallery:timeline-tiles": own(
        get("/timeline/tiles/?start=0"),
        get("/timeline/tiles/?trash=1"),
        get("/timeline/tiles/?favourites=1"),
        get("/timeline/tiles/?album={album}", others=404),
    ),
    "gallery:timeline-keys": own(
        get("/timeline/keys/?start=0&count=10"),
        get("/timeline/keys/?count=10&album={album}", others=404),
    ),
    "gallery:states": own(get(f"/photos/states/?ids={BOTH},{{trashed}}")),
    "gallery:download": own(post("/photos/download/", 200, others=404, ids=BOTH)),
    "gallery:bulk": own(
        *(
            post(f"/photos/bulk/{action}/", 200, ids=BOTH + ",{trashed}")
            for action in ("trash", "restore", "delete", "favourite", "unfavourite")
        ),
        *(
            post(f"/photos/bulk/{action}/", 200, others=404, ids=BOTH, album="{album}")
            for action in ("add-to-album", "remove-from-album")
        ),
        post("/photos/bulk/add-to-album/", 200, ids=BOTH, title="Taken from another"),
    ),
    "gallery:photo": anothers(
        get("/photos/{secret}/"),
        get("/photos/{secret}/?album={album}"),
        get("/photos/{secret}/?favourites=1"),
    ),
    "gallery:photo-trash": anothers(post("/photos/{secret}/trash/")),
    "gallery:retry": anothers(post("/photos/{failed}/retry/")),
    "gallery:retry-all": own(post("/photos/retry/")),
    "gallery:favourite": anothers(post("/photos/{secret}/favourite/")),
    "gallery:caption": anothers(post("/photos/{secret}/caption/", caption="mine")),
    "gallery:file": anothers(
        *_files("/photos/{secret}/", "thumbnail", "preview", "original"),
        get("/photos/{secret}/original/?download"),
    ),
    # Albums, the trash, links, the export
    "gallery:albums": own(get("/albums/"), post("/albums/", title="A new one")),
    "gallery:album-choices": own(get("/albums/choices/")),
    "gallery:album": anothers(get("/albums/{album}/")),
    "gallery:album-rename": anothers(post("/albums/{album}/rename/", title="Mine")),
    "gallery:album-delete": anothers(post("/albums/{album}/delete/")),
    "gallery:album-cover": anothers(post("/albums/{album}/cover/", photo="{secret}")),
    "gallery:album-download": anothers(get("/albums/{album}/download/")),
    "gallery:trash": own(get("/trash/")),
    "gallery:trash-empty": own(post("/trash/empty/")),
    "gallery:trashed-file": anothers(*_files("/trash/{trashed}/", "thumbnail", "preview")),
    "gallery:links": own(get("/links/")),
    "gallery:share": own(
        post("/links/create/", others=400, ids=BOTH),
        post("/links/create/", others=404, album="{album}"),
    ),
    "gallery:link-close": anothers(post("/links/{link}/close/")),
    "gallery:export": own(get("/export/")),
    # What a link shows: to nobody what lies beside it, or behind a closed one or a password
    "gallery:shared": link(
        get("/s/{token}/"), get("/s/{closed}/", 404), get("/s/{expired}/", 404),
        get("/s/unknown/", 404), get("/s/{locked}/"),
        post("/s/{locked}/", 403, password="guessed"),
    ),
    "gallery:shared-tiles": link(
        get("/s/{token}/tiles/"), get("/s/{closed}/tiles/", 404), get("/s/{locked}/tiles/", 404)
    ),
    "gallery:shared-download": link(
        get("/s/{token}/download/"), get("/s/{closed}/download/", 404),
        get("/s/{locked}/download/", 404),
    ),
    "gallery:shared-photo": link(
        get("/s/{token}/photos/{shared}/"), get("/s/{token}/photos/{secret}/", 404),
        get("/s/{closed}/photos/{shared}/", 404), get("/s/{locked}/photos/{secret}/", 404),
    ),
    "gallery:shared-file": link(
        *_files("/s/{token}/photos/{shared}/", "thumbnail", "preview", "original"),
        *_files("/s/{token}/photos/{secret}/", "thumbnail", "preview", "original", allowed=404),
        *_files("/s/{token}/photos/{trashed}/", "thumbnail", "original", allowed=404),
        *_files("/s/{closed}/photos/{shared}/", "thumbnail", "original", allowed=404),
        *_files("/s/{locked}/photos/{secret}/", "thumbnail", "original", allowed=404),
    ),
    # Searching
    "search:results": own(
        get("/search/?q=a+cat&weak=true"),
        get("/search/?q=photo:{secret}", others=404),
        get("/search/?q=a+cat+photo:{secret}", others=404),
        get("/search/?q=image:{picture}", others=404),
        get('/search/?q=album:"{album_title}"', others=400),
        get('/search/?q=name:"{filename}"'),
    ),
    "search:refine": own(get("/search/details/?q=cat", 302)),
    "search:picture": own(post("/search/picture/", picture="a picture")),
    "search:picture-file": anothers(get("/search/picture/{picture}/")),
    "search:similar": anothers(get("/search/similar/{secret}/")),
    "search:suggestions": own(
        get("/search/suggestions/"), get("/search/suggestions/?q=a"),
        get("/search/suggestions/?q={album_title}"),
    ),
    "search:clear-recent": own(post("/search/recent/clear/")),
    "search:saved": own(get("/search/saved/")),
    "search:save": own(post("/search/saved/new/", name="A new one", query="cat")),
    "search:delete-saved": anothers(post("/search/saved/{saved}/delete/")),
    "search:duplicates": own(get("/search/duplicates/")),
    "search:scan-duplicates": own(post("/search/duplicates/scan/")),
    "search:resolve-duplicates": anothers(
        post("/search/duplicates/resolve/", photos=BOTH, keep="{secret}")
    ),
    # Accounts
    "accounts:profile": own(get("/accounts/profile/")),
    "accounts:delete": own(get("/accounts/delete/"), post("/accounts/delete/", 200, password="x")),
    "accounts:tokens": own(get("/accounts/tokens/")),
    "accounts:new-token": own(
        get("/accounts/tokens/new/"),
        post("/accounts/tokens/new/", 200, name="A new one", scopes="search", days="30"),
    ),
    "accounts:revoke-token": anothers(
        get("/accounts/tokens/{access_token}/revoke/"),
        post("/accounts/tokens/{access_token}/revoke/"),
    ),
    "account_login": public(get("/accounts/login/", 302, nobody=200)),
    "account_logout": public(get("/accounts/logout/", 200, nobody=302)),
    "account_inactive": public(get("/accounts/inactive/", nobody=200)),
    "account_signup": public(get("/accounts/signup/", 302, nobody=200)),
    "account_reauthenticate": own(
        get("/accounts/reauthenticate/"), post("/accounts/reauthenticate/", 200, password="x")
    ),
    "account_email": own(
        get("/accounts/email/"),
        post("/accounts/email/", action_remove="", email="{pending_email}", others=302),
    ),
    "account_email_verification_sent": public(get("/accounts/confirm-email/", nobody=200)),
    "account_change_password": own(get("/accounts/password/change/")),
    "account_set_password": own(get("/accounts/password/set/", 302)),
    "account_reset_password": public(get("/accounts/password/reset/", nobody=200)),
    "account_confirm_login_code": public(get("/accounts/login/code/confirm/", 302, nobody=302)),
    "account_confirm_email": public(get("/accounts/confirm-email/unknown/", nobody=200)),
    "account_reset_password_from_key": public(
        get("/accounts/password/reset/key/{ann36}-unknown/", nobody=200)
    ),
    "account_reset_password_from_key_done": public(
        get("/accounts/password/reset/key/done/", nobody=200)
    ),
    "account_reset_password_done": public(get("/accounts/password/reset/done/", nobody=200)),
    "mfa_index": own(get("/accounts/2fa/")),
    "mfa_authenticate": public(get("/accounts/2fa/authenticate/", 302, nobody=302)),
    "mfa_reauthenticate": own(get("/accounts/2fa/reauthenticate/", 302)),
    "mfa_activate_totp": own(get("/accounts/2fa/totp/activate/")),
    "mfa_deactivate_totp": own(get("/accounts/2fa/totp/deactivate/", 404)),
    "mfa_view_recovery_codes": own(get("/accounts/2fa/recovery-codes/", 404)),
    "mfa_generate_recovery_codes": own(get("/accounts/2fa/recovery-codes/generate/")),
    "mfa_download_recovery_codes": own(get("/accounts/2fa/recovery-codes/download/", 404)),
    "mfa_list_webauthn": own(get("/accounts/2fa/webauthn/")),
    # (Ann's passkey is none that these two could work with.)
    "mfa_add_webauthn": own(get("/accounts/2fa/webauthn/add/", None, others=200)),
    "mfa_reauthenticate_webauthn": own(
        get("/accounts/2fa/webauthn/reauthenticate/", None, others=302)
    ),
    "mfa_remove_webauthn": anothers(
        get("/accounts/2fa/webauthn/keys/{passkey}/remove/"),
        post("/accounts/2fa/webauthn/keys/{passkey}/remove/"),
    ),
    "mfa_edit_webauthn": anothers(
        get("/accounts/2fa/webauthn/keys/{passkey}/edit/"),
        post("/accounts/2fa/webauthn/keys/{passkey}/edit/", name="mine"),
    ),
    "mfa_login_webauthn": public(get("/accounts/2fa/webauthn/login/", 302, nobody=302)),
    # The admin. Its own pages are for all staff, and show only what there is a permission for.
    "admin:index": staff(get("/admin/", others=200)),
    "admin:login": public(get("/admin/login/", None, nobody=302)),
    "admin:logout": public(post("/admin/logout/", None)),
    "admin:password_change": staff(get("/admin/password_change/", 302, others=302)),
    "admin:password_change_done": staff(get("/admin/password_change/done/", others=200)),
    "admin:autocomplete": staff(
        get("/admin/autocomplete/?app_label=gallery&model_name=photo&field_name=owner&term=")
    ),
    "admin:jsi18n": staff(get("/admin/jsi18n/", others=200)),
    "admin:view_on_site": staff(get("/admin/r/{photo_type}/{secret}/", 302, others=302)),
    "admin:app_list": staff(get("/admin/gallery/", others=404)),
    "admin/(?P<url>.*)$": staff(get("/admin/no/such/page", 404, others=404)),
    "admin:auth_user_password_change": staff(
        get("/admin/accounts/user/{ann}/password/"),
        post("/admin/accounts/user/{ann}/password/", None, password1="x", password2="x"),
    ),
    **_admin_of("auth_group", "{group}"),
    **_admin_of("accounts_user", "{ann}"),
    **_admin_of("accounts_accesstoken", "{access_token}", add=403),
    **_admin_of("gallery_photo", "{secret}", add=403),
    **_admin_of("search_searchindex", "{index}", add=403, delete=403),
    **_admin_of("search_photoindexing", "{indexing}", add=403, delete=403),
    **_admin_of("search_indexrun", "{run}", add=403, delete=403),
    **_admin_of("search_workerheartbeat", "{worker}", add=403, delete=403),
    **_admin_of("search_loadedtower", "{tower}", add=403, delete=403),
    **_admin_of("account_emailaddress", "{email}"),
    **_admin_of("mfa_authenticator", "{passkey}"),
    "admin:search_console": staff(get("/admin/search/console/")),
    "admin:search_console_section": staff(
        *(
            get(f"/admin/search/console/sections/{name}/")
            for name in ("generations", "services", "runs")
        )
    ),
    "admin:search_console_build": staff(post("/admin/search/console/build/", None)),
    "admin:search_console_reindex": staff(post("/admin/search/console/reindex/", None)),
    "admin:search_console_verify": staff(post("/admin/search/console/verify/", None)),
    "admin:search_console_refill": staff(post("/admin/search/console/refill/", None)),
    "admin:search_console_act": staff(
        post("/admin/search/console/generations/{index}/pause/", None)
    ),
    "admin:search_console_run": staff(post("/admin/search/console/runs/{run}/interrupt/", None)),
    # The API, its description, and what watches over the process
    "api:token": API,
    "api:search": API,
    "api:upload-list": API,
    "api:upload-detail": API,
    "api:photo-list": API,
    "api:photo-detail": API,
    "api:photo-trash": API,
    "api:photo-check": API,
    "api:photo-delete-many": API,
    "api:photo-retry": API,
    "api:album-list": API,
    "api:album-detail": API,
    "api:album-add": API,
    "api:album-photos": API,
    "api:album-remove": API,
    "api:trash-list": API,
    "api:trash-detail": API,
    "api:trash-restore": API,
    "schema": public(get("/api/schema/", nobody=200)),
    "api-docs": public(get("/api/docs/", nobody=200)),
    "healthz": public(get("/healthz", nobody=200)),
    "set_language": public(
        get("/language/", nobody=200), post("/language/", others=302, language="en")
    ),
    "readyz": public(get("/readyz", nobody=200)),
    "metrics": Row(Access.MACHINE, (get("/metrics"),)),
}  # fmt: skip


_KEYS = ["{secret}", "{shared}"]

# For each operation the path that it is asked at under /api/v1, the body and the statuses.
OPERATIONS: dict[str, Row] = {
    "POST /api/v1/auth/token/": public(
        Ask(
            "POST", "/api/v1/auth/token/", {"username": "ann", "password": "guessed"}, 400,
            nobody=400,
        )
    ),
    "GET /api/v1/photos/": own(get("/api/v1/photos/"), get("/api/v1/photos/?cursor=cD05OTk5OTk5")),
    "POST /api/v1/photos/": own(
        # The very bytes of another's photo: a photo of one's own, and no word of the other.
        post("/api/v1/photos/", 200, others=201, file="the bytes of ann's")
    ),
    # Of another's the answer says nothing but what was asked.
    "POST /api/v1/photos/check/": own(post("/api/v1/photos/check/", 200, sha256=["{sha256}"])),
    "POST /api/v1/photos/delete/": own(
        post("/api/v1/photos/delete/", 200, ids=[*_KEYS, "{trashed}"])
    ),
    "POST /api/v1/photos/retry/": own(post("/api/v1/photos/retry/", 200)),
    "GET /api/v1/photos/{id}/": anothers(get("/api/v1/photos/{secret}/")),
    "PATCH /api/v1/photos/{id}/": anothers(
        Ask("PATCH", "/api/v1/photos/{secret}/", {"caption": "mine"})
    ),
    "DELETE /api/v1/photos/{id}/": anothers(Ask("DELETE", "/api/v1/photos/{secret}/", {}, 204)),
    "POST /api/v1/photos/{id}/trash/": anothers(post("/api/v1/photos/{secret}/trash/", 204)),
    "POST /api/v1/uploads/": own(
        Ask(
            "POST", "/api/v1/uploads/", allowed=201,
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9"},
        )
    ),
    "GET /api/v1/uploads/{id}/": anothers(get("/api/v1/uploads/{upload}/")),
    "PATCH /api/v1/uploads/{id}/": anothers(
        Ask("PATCH", "/api/v1/uploads/{upload}/", {}, 204, headers=PIECE)
    ),
    "DELETE /api/v1/uploads/{id}/": anothers(
        Ask("DELETE", "/api/v1/uploads/{upload}/", {}, 204, headers=PIECE),
        Ask("HEAD", "/api/v1/uploads/{upload}/", headers=PIECE),
    ),
    "GET /api/v1/albums/": own(get("/api/v1/albums/")),
    "POST /api/v1/albums/": own(post("/api/v1/albums/", 400, others=201, title="{album_title}")),
    "GET /api/v1/albums/{id}/": anothers(get("/api/v1/albums/{album}/")),
    "PATCH /api/v1/albums/{id}/": anothers(
        Ask("PATCH", "/api/v1/albums/{album}/", {"title": "Mine"})
    ),
    "DELETE /api/v1/albums/{id}/": anothers(Ask("DELETE", "/api/v1/albums/{album}/", {}, 204)),
    "POST /api/v1/albums/{id}/add/": anothers(
        post("/api/v1/albums/{album}/add/", 200, photos=_KEYS),
        # Another's photos into one's own album.
        post("/api/v1/albums/{bens_album}/add/", 404, ben=200, photos=_KEYS),
    ),
    "GET /api/v1/albums/{id}/photos/": anothers(get("/api/v1/albums/{album}/photos/")),
    "POST /api/v1/albums/{id}/remove/": anothers(
        post("/api/v1/albums/{album}/remove/", 200, photos=_KEYS)
    ),
    "GET /api/v1/trash/": own(get("/api/v1/trash/")),
    "GET /api/v1/trash/{id}/": anothers(get("/api/v1/trash/{trashed}/")),
    "DELETE /api/v1/trash/{id}/": anothers(Ask("DELETE", "/api/v1/trash/{trashed}/", {}, 204)),
    "POST /api/v1/trash/{id}/restore/": anothers(post("/api/v1/trash/{trashed}/restore/", 200)),
    "GET /api/v1/search/": own(
        get("/api/v1/search/?q=a+cat&weak=true"),
        get("/api/v1/search/?photo={secret}&weak=true", others=404),
        get("/api/v1/search/?q=image:{picture}", 503, others=404),
        get('/api/v1/search/?q=album:"{album_title}"', others=400),
    ),
}  # fmt: skip


def url_patterns() -> Iterator[tuple[str, str]]:
    """The key of each URL pattern in `ROUTES` (its name or, without one, itself), and itself."""

    def walk(
        patterns: list[URLPattern | URLResolver], before: str, namespace: str
    ) -> Iterator[tuple[str, str]]:
        for each in patterns:
            route = before + str(each.pattern)
            if isinstance(each, URLPattern):
                yield f"{namespace}{each.name}" if each.name else route, route
            else:
                inner = f"{namespace}{each.namespace}:" if each.namespace else namespace
                yield from walk(each.url_patterns, route, inner)

    return walk(get_resolver().url_patterns, "", "")


@dataclass
class World:
    """Ann's things, each different from anything of anybody else's, and ben's beside them."""

    ann: User
    names: dict[str, Any]
    # What must be in no answer to others: texts, and pieces of the files.
    secrets: dict[str, bytes]
    # What a link shows, and is in no other answer to others.
    shared: dict[str, bytes]
    pictures: dict[str, bytes]
    # What opens the API.
    keys: list[bytes]

    def fill(self, value: Any) -> Any:
        """`value` with the things in the place of their names."""
        if isinstance(value, list):
            filled = [each.format(**self.names) for each in value]
            return [int(each) if each.isdigit() else each for each in filled]
        if value in {"a picture", "the bytes of ann's"}:
            number = 1 if value == "the bytes of ann's" else 9
            return SimpleUploadedFile("x.jpg", draw_picture(number), "image/jpeg")
        return value.format(**self.names) if isinstance(value, str) else value

    def holdings(self) -> dict[str, Any]:
        """All rows that are ann's, of every model: to see that nobody else changed one."""
        rows: dict[str, Any] = {
            "user": list(User.objects.filter(pk=self.ann.pk).values()),
            "album": list(AlbumPhoto.objects.filter(album__owner=self.ann).values()),
        }
        for model in apps.get_models():
            owners = [
                each.name
                for each in model._meta.concrete_fields
                if isinstance(each, ForeignKey | OneToOneField) and each.related_model is User
            ]
            # When a link was opened last is what visitors are there to change.
            skipped = {"last_opened_at"}
            fields = [
                each.attname for each in model._meta.concrete_fields if each.name not in skipped
            ]
            for owner in owners:
                found = model._default_manager.filter(**{owner: self.ann}).order_by("pk")
                rows[f"{model._meta.label}.{owner}"] = list(found.values(*fields))
        return rows


def build_world(ann: User, ben: User, add: Add, index: SearchIndex) -> World:
    """Everything that ann can have, and something of each for ben."""
    with connection.cursor() as cursor:
        # Keys that can be told from other numbers where they turn up in an answer.
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('gallery_photo', 'id'), %s)", [FIRST_KEY]
        )
    theirs = add(ben, 20)
    secret, shared, trashed = (add(ann, number) for number in (1, 2, 3))
    pieces = {
        f"{variant} of {name}": _content(photo, variant)
        for name, photo in (("secret", secret), ("shared", shared), ("trashed", trashed))
        for variant in ("thumbnail", "preview", "original")
    }
    facts = {
        "filename": "ann-at-the-lake.jpg", "caption": "Words for ann alone", "is_favourite": True,
        "camera": "Camera of ann", "latitude": 48.858371, "longitude": 2.294481,
    }  # fmt: skip
    Photo.objects.filter(pk=secret.pk).update(**facts)
    Photo.objects.filter(pk=shared.pk).update(filename="ann-shared-this.jpg", caption="See this")
    Photo.objects.filter(pk=trashed.pk).update(filename="ann-threw-it-away.jpg")
    failed = photo_of(ann)
    Photo.objects.filter(pk=failed.pk).update(
        state="failed", error="The file of ann is gone.", filename="ann-broke-it.jpg"
    )
    album = create_album(owner=ann, title="Album of ann alone")
    add_to_album(album, photo_ids=[secret.pk])
    move_to_trash(owner=ann, photo_ids=[trashed.pk])
    upload = start_upload(owner=ann, length=9, filename="ann-began-this.jpg")
    links = {
        "token": share(owner=ann, photo_ids=[shared.pk, trashed.pk]),
        "locked": share(owner=ann, album=album, password="open sesame"),
        "closed": share(owner=ann, photo_ids=[shared.pk]),
        "expired": share(
            owner=ann, photo_ids=[shared.pk], expires_at=timezone.now() - timedelta(days=1)
        ),
    }
    revoke(links["closed"])
    saved = save_search(owner=ann, name="Search of ann alone", query="ann sought", by_date=False)
    RecentSearch.objects.create(owner=ann, query="what ann asked of late")
    picture = ImageQuery.objects.create(
        owner=ann, picture=draw_picture(7), expires_at=timezone.now() + timedelta(hours=1)
    )
    DuplicateScan.objects.create(
        owner=ann, index=index, state="done", pairs=[[secret.pk, shared.pk]], compared=2, total=2
    )
    email = EmailAddress.objects.create(user=ann, email=ann.email, primary=True, verified=True)
    EmailAddress.objects.create(user=ann, email="ann-soon@example.com")
    by_password = create_password_token(owner=ann)
    made = create_token(owner=ann, name="Access token of ann", scopes=list(Scope))
    bens_album = create_album(owner=ben, title="Album of ben")
    add_to_album(bens_album, photo_ids=[theirs.pk])
    secrets = {
        str(value): str(value).encode()
        for value in (
            secret.pk, trashed.pk, failed.pk, *facts.values(), "ann-threw-it-away.jpg",
            "ann-broke-it.jpg", "ann-began-this.jpg", upload.pk, "The file of ann",
            album.title, saved.name, saved.query, "what ann asked of late", ann.email,
            "ann-soon@example.com", "Passkey of ann",
            by_password.secret,
            by_password.token.secret_sha256, made.token.name, made.token.prefix, made.secret,
            made.token.secret_sha256,
            *(link.token for link in links.values()),
        )
        if value is not True
    }  # fmt: skip
    visible = {f"{variant} of shared" for variant in ("thumbnail", "preview", "original")}
    return World(
        ann=ann,
        names={
            "ann": ann.pk, "ann36": int_to_base36(ann.pk), "secret": secret.pk,
            "shared": shared.pk, "trashed": trashed.pk, "failed": failed.pk, "album": album.pk,
            "access_token": made.token.pk, "bens_album": bens_album.pk,
            "album_title": album.title, "filename": facts["filename"],
            "sha256": secret.sha256, "link": links["token"].pk,
            "upload": upload.pk, "saved": saved.pk, "picture": picture.pk,
            "email": email.pk, "pending_email": "ann-soon@example.com",
            "passkey": Authenticator.objects.create(
                user=ann, type="webauthn", data={"name": "Passkey of ann", "credential": {}}
            ).pk,
            "index": index.pk,
            "indexing": PhotoIndexing.objects.get(photo=secret).pk,
            "run": IndexRun.objects.create(index=index, kind="verify", owner=ann).pk,
            "worker": WorkerHeartbeat.objects.create(name="worker@a", queues="index").pk,
            "tower": LoadedTower.objects.create(
                process="web@a", part="text", encoder="starter", resident_bytes=1
            ).pk,
            "group": Group.objects.create(name="Editors").pk,
            "photo_type": ContentType.objects.get_for_model(Photo).pk,
            **{name: link.token for name, link in links.items()},
        },
        secrets=secrets
        | {"picture searched with": draw_picture(7)}
        | {name: piece for name, piece in pieces.items() if name not in visible},
        shared={name: piece for name, piece in pieces.items() if name in visible}
        | {
            text: text.encode()
            for text in ("ann-shared-this.jpg", "See this", str(shared.pk))
        },
        pictures=pieces,
        keys=[key.encode() for key in (by_password.secret, made.secret, made.token.secret_sha256)],
    )  # fmt: skip


def _content(photo: Photo, variant: str) -> bytes:
    with getattr(photo, variant).open("rb") as file:
        content: bytes = file.read()
    return content


@contextmanager
def undone() -> Iterator[None]:
    """Whatever happens inside is taken back.

    Code inside takes itself to be outside of any transaction: what it has to commit at once
    (`durable`) stays possible, as in tests of Django's own.
    """
    block = transaction.atomic()
    block._from_testcase = True  # type: ignore[attr-defined]
    try:
        with block:
            yield
            transaction.set_rollback(True)
    finally:
        cache.clear()

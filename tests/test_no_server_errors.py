"""That nothing that can be sent makes the server fail: every address, asked in every odd way.

Each request differs from a sensible one in one thing: its method, who asks, a part of the path, a
parameter, the body or a header. The test asks a part of all that, the same each time; `SWEEP=0.05`
asks a twentieth of it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as site
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.throttling import ScopedRateThrottle

from accounts.models import Scope, User
from accounts.tokens import create_token
from gallery.models import Photo
from search.models import SearchIndex
from tests.isolation import OPERATIONS, PIECE, ROUTES, World, build_world, undone, url_patterns

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
)  # fmt: skip
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
DEEP = "[" * 100_000
# As they stand in an address or a form, percent-encoded.
ODD_VALUES = (
    "", "0", "-1", "1.5", str(2**31), str(2**63 - 1), str(2**63), str(2**64), "9" * 1000,
    "9" * 5000, "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%F0%9F%98%80", "%D9%A3", "%C2%B2",
    "x" * 20_000,
    "0001-01-01", "9999-12-31", "9999-12-31T23:59:59-12:00", "0000-00-00", "NaN", "Infinity",
    "-inf", "1e400", "true", "null", "[]", "{}", "%5B%22a%22%5D", "cD0tMQ==", "cD05OTk5", "%27",
    "%22", "%5C", "%25", "%0D%0AX:1", "..%2F..%2Fetc", "//evil.example", "javascript:1", "(" * 3000,
    "%22%22", "photo:" + "9" * 30, "image:0", "after:0001", "before:9999", "after:9999-99",
    "album:%22", "album:%22%00%22", "name:%25", "1e400:cat", "%2B%2B", "%2B".join("ab" * 200),
    "type:x", "is:x", "-", "near:91,181",
)  # fmt: skip
ODD_SEGMENTS = (
    "0", "-1", str(2**63 - 1), str(2**63), str(2**64), "9" * 1000, "9" * 5000, "%00", "a%00b",
    "%FF",
    "%ED%A0%80", "%D9%A3", "1.5", "x", "x" * 3000, "%2F", "..", "%20", "_5F00", "_00",
    "00000000-0000-0000-0000-000000000000", "%F0%9F%98%80",
)  # fmt: skip
# What the pages read from an address, by the name of the pattern; "" for all others.
PARAMETERS = {
    "gallery": (
        "album", "favourites", "trash", "start", "count", "ids", "cursor", "new", "download",
    ),
    "search": (
        "q", "photo", "taken_after", "taken_before", "limit", "offset", "cursor", "order", "weak",
        "shown", "rest", "words", "without", "after", "up_to", "album", "type", "camera", "name",
    ),
    "api": (
        "q", "photo", "taken_after", "taken_before", "limit", "offset", "cursor", "order", "weak",
        "format",
    ),
    "admin": (
        "q", "p", "o", "all", "e", "_popup", "_to_field", "_changelist_filters", "next", "term",
        "app_label", "model_name", "field_name", "pk", "owner__username", "owner__id__exact",
        "is_active__exact", "date_joined__year", "date_joined__gte", "state__exact", "id__in",
        "user__pk", "_facets", "index", "page", "kind",
    ),
    "": ("next", "email", "login", "format", "lang", "page", "x", "%00"),
}  # fmt: skip
FIELDS = {
    "gallery": (
        "ids", "album", "title", "photo", "caption", "favourite", "days", "password", "ids",
    ),
    "search": ("q", "picture", "name", "query", "by_date", "next", "photos", "keep"),
    "admin": (
        "action", "_selected_action", "index", "select_across", "username", "email", "quota_bytes",
        "password1", "name", "taken_at_0", "caption", "owner", "permissions", "encoder", "query",
        "user", "type", "data", "date_joined_0", "post", "reason", "kind", "_save",
    ),
    "": (
        "login", "password", "email", "username", "password1", "password2", "code", "credential",
        "name", "next", "days", "scopes", "language", "action_add", "oldpassword", "unlock", "id",
    ),
}  # fmt: skip


def part(disposition: str, content: str = "x") -> bytes:
    """A multipart body of one part."""
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return f"{head}{content}\r\n--b--\r\n".encode()


BODIES: tuple[tuple[str, bytes], ...] = (
    (JSON, b""), (JSON, b"null"), (JSON, b"0"), (JSON, b'"x"'), (JSON, b"[]"), (JSON, b"[[1]]"),
    (JSON, b"{"), (JSON, b"\xff\xfe"), (JSON, b"NaN"), (JSON, b"-Infinity"), (JSON, b"1e999"),
    (JSON, b"9" * 5000), (JSON, DEEP.encode()), (JSON, (DEEP + "]" * len(DEEP)).encode()),
    (JSON, b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    (JSON, b'{"title":' + DEEP.encode() + b"]" * len(DEEP) + b"}"),
    (JSON, b"\x00"), (JSON, b'{"\\u0000": "\\u0000"}'),
    ("application/json; charset=nonsense", b"{}"),
    ("application/json; charset=utf-16", b"{}"),
    ("application/json; charset=rot13", b"{}"), ("application/json; charset=undefined", b"{}"),
    ("application/json; charset=idna", b'{"title": "..a"}'),
    ("application/xml", b"<a/>"), ("text/plain", b"x"), ("x", b"x"), ("/", b"x"), ("", b"x"),
    (";;;=;", b"x"), ("application/json/json", b"{}"),
    (FORM, b"title=%00&caption=%00&q=%00"), (FORM, b"%00=%00"), (FORM, b"title=%FF%FE"),
    (FORM, b"&".join(b"f%d=1" % n for n in range(10_000))), (FORM, b"title=" + b"x" * 100_000),
    (FORM, b"\xff\xfe\x00"), (FORM + "; charset=nonsense", b"title=a"),
    (FORM + "; charset=undefined", b"title=a%FF"), (FORM + "; charset=utf-7", b"title=a%2B"),
    ("multipart/form-data", b"x"), (MULTIPART, b"x"), (MULTIPART, b"--b"), (MULTIPART, b"--b\r\n"),
    (MULTIPART, b""), ("multipart/form-data; boundary=", b"--\r\n"),
    ("multipart/form-data; boundary=" + "b" * 1000, b"x"),
    ("multipart/form-data; boundary=\xe9", b"x"), ("multipart/mixed; boundary=b", b"--b--"),
    (MULTIPART + "; charset=nonsense", part('name="a"')), (MULTIPART, part('name="title"', "a\0b")),
    *(
        (MULTIPART, part(f'name="file"; filename{name}'))
        for name in ('="\0"', '="a"', "*=x'y'%ff", '="../../a"', '=""', "*=", f'="{"é" * 300}"')
    ),
    (MULTIPART, part('name="file"; filename="a"\r\nContent-Transfer-Encoding: base64', "!!!")),
    (MULTIPART, part('name="picture"; filename="a.jpg"\r\nContent-Length: x')),
    (MULTIPART, part('name="file"', "no file")),
)  # fmt: skip
ODD_JSON: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, 2**64, 10**400, float("nan"), float("inf"), "", " ", "\0",
    "a\0b", "\ud800", "٣", "x" * 20_000, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
    [], [None], [[]], [{}], ["\0"], ["\ud800"], [2**64], [-1], [10**400], [1] * 2000, {}, {"a": {}},
    {"\0": "\0"},
)  # fmt: skip
LONG = "x" * 5000
# Values by header, as a server hands them on: Latin-1.
_HEADERS: dict[str, tuple[str, ...]] = {
    "Authorization": (
        "", " ", "Bearer", "Bearer ", "Bearer a b", "Token", "Token a b", "Token \xff", "Basic",
        "Bearer \xff\xfe", "Bearer \0", "Token \0", "Token t2i_\0", "Bearer t2i_\xff",
        f"Bearer {LONG}",
        f"Token {LONG}", "bearer\tx", "\0", "Token \t", "Bearer é", "Negotiate x", "Basic é:", LONG,
    ),
    "Cookie": (
        "sessionid=%00", 'sessionid="\\000"', "sessionid=a\0b", "sessionid=\xff", "sessionid=",
        f"sessionid={LONG}", "csrftoken=\0", 'csrftoken="\\000"', "csrftoken=\xff",
        "django_language=\0", "django_language=xx", f"django_language={LONG}", "messages=x",
        "messages=" + DEEP[:4000], "messages=\0", ";;=;", "=", "\xff=\xff", "$x",
        'messages="\\000"',
        "sessionid=a; sessionid=b",
    ),
    "Accept": (
        "", "x", "*/x", "application/*;q=x", ",,", "\xff", ";", "a/b;" * 500, "text/html",
        "application/json; indent=" + "9" * 40, "application/json; indent=x",
    ),
    "Accept-Language": ("", "\xff", LONG, "zh;q=" + "9" * 500, "en-" * 2000, "*", ",;q="),
    "Accept-Encoding": ("", "\xff", "gzip;q=x", LONG),
    "Host": ("", "evil.example", "\xff", "a b", "[::1", LONG, "testserver:99999999", "@"),
    "Range": (
        "x", "bytes=", "bytes=-", "bytes=5-1", "bytes=0-0,5-9", "bytes=" + "9" * 5000 + "-",
        "bytes=-0",
        "bytes=\xb2-", "bytes=-" + "9" * 40, "bytes=0-" + "9" * 40, "\xff",
        "bytes=" + "0-1," * 2000,
    ),
    "If-None-Match": ("x", '"', "W/", "*", "\xff", '"a",' * 2000),
    "If-Modified-Since": (
        "x", "Fri, 99 Nov 9999 99:99:99 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0000 00:00:00 GMT", "\xff",
    ),
    "If-Range": ("x", "\xff"),
    **dict.fromkeys(
        ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip"),
        ("", "\xff", "x", "a,b,c", LONG, "\0", "::1", "999.999.999.999"),
    ),
    "Content-Length": ("-1", "x", "", "9" * 30, "\xb2"),
    "Content-Type": ("\xff", LONG),
    "HX-Request": ("true", "\xff"),
    "HX-Current-URL": ("\xff", "http://[::1", "x", "%00", "http://a:x/"),
    "Referer": ("\xff", "http://[", "x", "http://[::1", "//", "http://\0"),
    "Origin": ("null", "\xff", "http://[", "http://[::1", "x", "//:x"),
    "X-CSRFToken": ("", "\xff", "x" * 64, LONG),
    "X-Request-Id": ("\xff", LONG),
    "X-HTTP-Method-Override": ("PATCH", "DELETE", "HEAD", "PUT", "TRACE", "\xff", LONG),
    "Transfer-Encoding": ("chunked", "x"),
}  # fmt: skip
HEADERS = [{name: value} for name, values in _HEADERS.items() for value in values]
_TUS = {
    "Upload-Length": (
        "", "-1", "x", "0", "9" * 19, str(2**63), "9" * 5000, "\xd9\xa3", "1.5", "\xb2", "\0", " 9",
        "+9", "1_0",
    ),
    "Upload-Offset": ("", "-1", "x", str(2**63 - 1), str(2**63), "9" * 5000, "\xb2", "\0", "1.5"),
    "Upload-Metadata": (
        "", "filename", "filename !", "filename AA==", "filename //8=",
        "filename " + "A" * 5000, ",",
        ",,", "a b c", "filename 7aCA", "filename YQBi", "\xff", "\0", "é w6k=", "a AA==", "x \0",
        "filename w6k=,filename w6k=", "filename Li4vLi4vAA==",
    ),
    "Upload-Checksum": (
        "", "sha1", "md5 AAAA", "sha1 !", "sha1 AAAA", "sha256 \xff", "\0 x", "shake_128 A",
    ),
    "Upload-Defer-Length": ("1", "x"),
    "Upload-Concat": ("partial", "final;x"),
    "Tus-Resumable": ("", "0.0.1", "\xff", "1.0.0, 1.0.0"),
    "Content-Length": ("-1", "x", "", "9" * 30, "\xb2"),
}  # fmt: skip
TUS = [
    PIECE | {"Upload-Length": "9", name: value} for name, values in _TUS.items() for value in values
]


@dataclass(frozen=True)
class Case:
    """One request; `path` may name the things of a `World` in braces."""

    who: str
    method: str
    path: str
    body: bytes | str = b""
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path[:120]} by {self.who} with {self.content_type[:60]!r} "
            f"{self.body[:80]!r} { ({name: value[:60] for name, value in self.headers.items()})!r}"
        )


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    settings.ACCOUNT_RATE_LIMITS = False
    settings.UPLOADS_ROOT = tmp_path / "uploads"
    default = settings.STORAGES["default"]
    options = default["OPTIONS"] | {"location": tmp_path / "media"}
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": options}}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for scope in ScopedRateThrottle.THROTTLE_RATES:
        monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, scope, None)


@pytest.fixture
def world(ann: User, ben: User, add: Callable[..., Photo], index: SearchIndex) -> World:
    return build_world(ann, ben, add, index)


@pytest.fixture
def actors(world: World, ben: User) -> dict[str, dict[str, str]]:
    """The headers of each who asks."""
    root = User.objects.create_superuser("root", "root@example.com", "x")
    staff = User.objects.create_user("staff", "staff@example.com", "x", is_staff=True)
    found: dict[str, dict[str, str]] = {"nobody": {}}
    for user in (world.ann, ben, staff, root):
        client = Client()
        client.force_login(user)
        # Pages about how one signs in want the password once more.
        session = client.session
        now = timezone.now().timestamp()
        session["account_authentication_methods"] = [{"method": "password", "at": now}]
        session.save()
        cookie = client.cookies[site.SESSION_COOKIE_NAME].value
        found[user.username] = {"Cookie": f"{site.SESSION_COOKIE_NAME}={cookie}"}
    ann = world.ann
    secrets = {
        "token": create_token(owner=ann, name="All", scopes=list(Scope)).secret,
        "expired": create_token(
            owner=ann, name="Old", scopes=list(Scope), expires_at=timezone.now() - timedelta(1)
        ).secret,
    }
    for scope in Scope:
        secrets[scope.value] = create_token(owner=ann, name=scope.value, scopes=[scope]).secret
    found |= {name: {"Authorization": f"Bearer {each}"} for name, each in secrets.items()}
    found["password's token"] = {"Authorization": f"Token {world.keys[0].decode()}"}
    visitor = Client()
    visitor.post("/s/{locked}/".format(**world.names), {"password": "open sesame"})
    cookie = visitor.cookies[site.SESSION_COOKIE_NAME].value
    found["visitor"] = {"Cookie": f"{site.SESSION_COOKIE_NAME}={cookie}"}
    return found


def addresses() -> list[tuple[str, str]]:
    """The name of each pattern and an address of it without parameters, each address once."""
    rows = [(name, ROUTES[name]) for name, _pattern in url_patterns()]
    rows += [("api:", row) for row in OPERATIONS.values()]
    found = {row.asks[0].path.partition("?")[0]: name for name, row in rows if row.asks}
    return [(name, path) for path, name in found.items()]


def who_may(name: str) -> str:
    if name.startswith("api:"):
        return "token"
    if name.startswith("admin"):
        return "root"
    if name.startswith("mfa_") and "webauthn" in name:
        return "ben"  # ann's passkey is none that these could work with
    return "visitor" if name.startswith("gallery:shared") else "ann"


def kind(name: str) -> str:
    """Which parameters and fields it may read."""
    first = name.partition(":")[0].partition("/")[0]
    return first if first in PARAMETERS else ""


def by_method_and_actor() -> Iterator[Case]:
    of_api = ["nobody", "ann", "ben", "token", "expired", "password's token", *Scope.values]
    for name, path in addresses():
        asking = of_api if name.startswith("api:") else ["nobody", "ben", who_may(name), "token"]
        for method in METHODS:
            for who in asking:
                yield Case(who, method, path)


def by_path() -> Iterator[Case]:
    for name, path in addresses():
        parts = path.split("/")
        for number, part in enumerate(parts):
            if "{" in part or part == "unknown":
                for value in ODD_SEGMENTS:
                    odd = "/".join([*parts[:number], value, *parts[number + 1 :]])
                    for method in ("GET", "POST", "PATCH", "DELETE"):
                        yield Case(who_may(name), method, odd)
    for value in ODD_SEGMENTS:
        for before in ("/", "/admin/", "/api/v1/", "/s/", "/static/", "/accounts/", "/search/"):
            yield Case("root", "GET", f"{before}{value}")
            yield Case("nobody", "GET", f"{before}{value}/")


def by_parameter() -> Iterator[Case]:
    for name, path in addresses():
        for parameter in (*PARAMETERS[kind(name)], *PARAMETERS[""]):
            for value in ODD_VALUES:
                yield Case(who_may(name), "GET", f"{path}?{parameter}={value}")
            yield Case(who_may(name), "GET", f"{path}?{parameter}=1&{parameter}=2&{parameter}[]=3")
            yield Case(who_may(name), "GET", f"{path}?{parameter}")


def by_field() -> Iterator[Case]:
    """Forms with one odd value among sensible ones."""
    for name, path in addresses():
        if name.startswith("api:"):
            continue
        row = ROUTES[name]
        sensible = next((ask.data for ask in row.asks if ask.method == "POST" and ask.data), {})
        rest = "".join(f"&{key}={quote(str(value))}" for key, value in sensible.items())
        for each in (*FIELDS.get(kind(name), ()), *FIELDS[""]):
            for value in ODD_VALUES:
                yield Case(who_may(name), "POST", path, f"{each}={value}{rest}", FORM)


def by_json() -> Iterator[Case]:
    for operation, row in OPERATIONS.items():
        method = operation.partition(" ")[0]
        ask = row.asks[0]
        path = ask.path.partition("?")[0]
        if method == "GET":
            continue
        for key in {*ask.data, "title", "caption", "taken_at", "filename", "photos", "ids"}:
            for value in ODD_JSON:
                body = json.dumps(dict(ask.data) | {key: value})
                yield Case("token", method, path, body, JSON)
    for value in ODD_JSON:
        for path in ("/api/v1/albums/", "/api/v1/photos/check/", "/api/v1/auth/token/"):
            yield Case("token", "POST", path, json.dumps(value), JSON)


def by_body() -> Iterator[Case]:
    for name, path in addresses():
        for content_type, body in BODIES:
            for method in ("POST", "PATCH", "PUT", "GET"):
                yield Case(who_may(name), method, path, body, content_type)


def by_header() -> Iterator[Case]:
    for name, path in addresses():
        for headers in HEADERS:
            for method in ("GET", "POST"):
                yield Case(who_may(name), method, path, headers=headers)
    for path in ("/api/v1/uploads/", "/api/v1/uploads/{upload}/"):
        for headers in TUS:
            for method in ("POST", "PATCH", "HEAD", "DELETE", "OPTIONS", "GET"):
                yield Case("token", method, path, b"123", PIECE["Content-Type"], headers)


def failing(case: Case, world: World, actors: dict[str, dict[str, str]]) -> str:
    """What the server could not deal with; empty where it could."""
    client = Client(raise_request_exception=False, REMOTE_ADDR="10.0.0.7")
    path, body = case.path, case.body
    for name, value in world.names.items():
        path = path.replace(f"{{{name}}}", str(value))
        if isinstance(body, str):
            body = body.replace(f"{{{name}}}", str(value))
    headers = actors[case.who] | case.headers
    if "Cookie" in case.headers and "sessionid" not in case.headers["Cookie"]:
        headers["Cookie"] = f"{headers['Cookie']}; {actors[case.who].get('Cookie', '')}"
    extra: dict[str, Any] = {}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        extra[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    with undone():
        response: Any = client.generic(case.method, path, body, case.content_type, **extra)
        if response.streaming:
            for _ in response.streaming_content:
                pass
    if response.status_code < 500:
        return ""
    if response.status_code == 503 and response.get("Retry-After"):
        return ""
    error = response.exc_info[1] if getattr(response, "exc_info", None) else None
    return f"{response.status_code} {type(error).__name__}: {str(error)[:200]} for {case}"


# What did make it fail, or was meant to: asked each time.
KNOWN = (
    Case("token", "PUT", "/api/v1/albums/{album}/"),
    Case("token", "PUT", "/api/v1/photos/{secret}/"),
    Case("root", "GET", "/admin/account/emailaddress/{email}/delete/?_to_field"),
    Case("nobody", "GET", "/s/%00/"),
    Case("ann", "GET", "/s/a%00b/tiles/"),
    *(
        Case(who, "GET", path, headers={"Cookie": 'sessionid="\\000"'})
        for who, path in (("nobody", "/"), ("nobody", "/api/v1/photos/"), ("nobody", "/admin/"))
    ),
    *(
        Case("root", "GET", f"/admin/{model}/?{parameter}=%00")
        for model in ("gallery/photo", "accounts/user", "account/emailaddress")
        for parameter in ("q", "owner__username", "e", "_changelist_filters")
    ),
    *(
        Case("token", method, path, body, JSON)
        for method, path in (
            ("POST", "/api/v1/albums/"), ("PATCH", "/api/v1/albums/{album}/"),
            ("POST", "/api/v1/auth/token/"), ("POST", "/api/v1/photos/delete/"),
        )
        for body in (DEEP, DEEP + "]" * len(DEEP), '{"a":' * 50_000 + "1" + "}" * 50_000)
    ),
    *(
        Case("ben", "POST", f"/accounts/{path}", "credential=" + DEEP[:5000], FORM)
        for path in ("2fa/webauthn/add/", "2fa/webauthn/reauthenticate/")
    ),
    Case("nobody", "POST", "/accounts/2fa/webauthn/login/", "credential=" + DEEP[:5000], FORM),
    Case("nobody", "POST", "/accounts/2fa/webauthn/login/", "credential=" + "9" * 5000, FORM),
    Case("nobody", "GET", "/api/v1/photos/", headers={"Authorization": "Token \0"}),
)  # fmt: skip
KINDS: dict[str, tuple[Callable[[], Iterator[Case]], int]] = {
    "known": (lambda: iter(KNOWN), len(KNOWN)),
    "methods": (by_method_and_actor, 450),
    "paths": (by_path, 150),
    "parameters": (by_parameter, 300),
    "fields": (by_field, 250),
    "json": (by_json, 200),
    "bodies": (by_body, 200),
    "headers": (by_header, 200),
}
# All of it is asked with 1, which takes hours.
SHARE = float(os.environ.get("SWEEP", "0"))


@pytest.mark.timeout(100_000 if SHARE else 600)
def test_nothing_makes_the_server_fail(
    subtests: pytest.Subtests, world: World, actors: dict[str, dict[str, str]]
) -> None:
    for name, (make, asked) in KINDS.items():
        cases = list(make())
        random.Random(12).shuffle(cases)
        with subtests.test(name):
            chosen = cases[: max(asked, int(SHARE * len(cases)))]
            assert [told for case in chosen if (told := failing(case, world, actors))] == []

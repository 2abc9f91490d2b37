"""The site in Chinese: by the browser's wish or by the switch, on every page and in the API."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from http import HTTPStatus
from io import BytesIO

import pytest
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import translation

from accounts.models import User
from gallery.models import Album, Photo, ShareLink
from search.languages import EXAMPLES
from search.models import SearchIndex
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}

FOR_ANYBODY = ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nowhere/"]
SIGNED_IN = [
    "/", "/albums/", "/albums/{album}/", "/favourites/", "/trash/", "/links/", "/photos/{photo}/",
    "/photos/{failed}/", "/search/", "/search/?q=dog", "/search/?q=after:soon",
    '/search/?q="a" -b after:2024-05 is:favourite', "/search/saved/", "/search/duplicates/",
    "/accounts/profile/", "/accounts/delete/", "/accounts/email/", "/accounts/password/change/",
    "/accounts/2fa/", "/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/",
    "/accounts/2fa/webauthn/add/", "/admin/", "/admin/search/console/",
    "/admin/search/searchindex/", "/admin/search/indexrun/", "/admin/accounts/user/",
    "/admin/accounts/user/add/", "/admin/gallery/photo/", "/nowhere/",
]  # fmt: skip
# What is the same in every language: data of the page, formats, and a table of django-allauth's
# that has no name in Chinese.
NAMES = {
    "ann", "x100", "english", "dog", "soon", "avif", "bmp", "gif", "heic", "jpeg", "png", "tiff",
    "webp", "authenticators", "dog · t2isearch", "picture-1", "starter", *EXAMPLES,
}  # fmt: skip
SHARED = ["/s/{token}/", "/s/{token}/photos/{photo}/", "/s/{locked}/", "/s/unknown/"]


class Read(HTMLParser):
    """What a person reads or hears of a page, in pieces."""

    # Keys have their names, and code is no prose.
    _NOT_READ = frozenset({"script", "style", "code", "pre", "kbd"})
    _SPOKEN = ("title", "aria-label", "placeholder", "alt", "data-announce")
    _FOR_SCRIPTS = ("data-text", "data-note", "data-error")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.language = ""
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self._NOT_READ
        values = dict(attrs)
        if tag == "html":
            self.language = values.get("lang") or ""
        for name, value in values.items():
            if value and (name in self._SPOKEN or name.startswith(self._FOR_SCRIPTS)):
                self.pieces.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self._NOT_READ

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.pieces.append(" ".join(data.split()))

    def english(self) -> list[str]:
        """The pieces with English in them: three words in a row, or nothing but a word or two."""
        names = (
            r"t2isearch|Milvus|OpenStreetMap|JavaScript|Authorization: Token|\{\w+\}"
            r"|[\x21-\x7e]*[@/.:_][\x21-\x7e]*"
        )
        found = []
        for piece in self.pieces:
            rest = re.sub(names, " ", piece)
            words = re.findall(r"[A-Za-z]{3,}", rest)
            chinese = re.search(r"[\u4e00-\u9fff]", rest)
            if words and (not chinese or re.search(r"(?:[A-Za-z]{2,} ){2}[A-Za-z]{2,}", rest)):
                found.append(piece)
        return found


@pytest.fixture
def places(ann: User, add: Callable[[User, int], Photo]) -> dict[str, object]:
    """What the addresses above are filled with; ann administers the site."""
    User.objects.filter(pk=ann.pk).update(is_staff=True, is_superuser=True)
    photo, failed = add(ann, 1), photo_of(ann)
    Photo.objects.filter(pk=failed.pk).update(state="failed", error="The picture can't be decoded.")
    Photo.objects.filter(pk=photo.pk).update(
        latitude=1.5, longitude=2.5, camera="X100", taken_at="2024-05-17T10:00:00Z"
    )  # fmt: skip
    album = Album.objects.create(owner=ann, title="海")
    album.photos.add(photo)
    link = ShareLink.objects.create(owner=ann, album=album)
    locked = ShareLink.objects.create(owner=ann, album=album, password="x")
    return {
        "photo": photo.pk, "failed": failed.pk, "album": album.pk,
        "token": link.token, "locked": locked.token,
    }  # fmt: skip


@pytest.mark.parametrize("asked", ["zh-CN", "zh", "zh-Hans-CN,en;q=0.5", "zh-TW", "zh-SG"])
def test_a_first_visit_is_in_the_browsers_language(db: None, client: Client, asked: str) -> None:
    response = client.get("/accounts/login/", headers={"Accept-Language": asked})
    page = response.content.decode()
    assert '<html lang="zh-hans">' in page
    assert "<h1>登录</h1>" in page
    assert response["Content-Language"] == "zh-hans"
    assert "Accept-Language" in response["Vary"]


@pytest.mark.parametrize("asked", ["", "de", "en-GB", "en,zh;q=0.5"])
def test_else_it_is_in_english(db: None, client: Client, asked: str) -> None:
    response = client.get("/accounts/login/", headers={"Accept-Language": asked})
    assert "<h1>Sign in</h1>" in response.content.decode()
    assert response["Content-Language"] == "en"


def test_the_switch_leads_back_and_is_remembered(ann: User, client: Client) -> None:
    client.force_login(ann)
    here = "http://testserver/search/?q=a+dog&order=date"
    answer = client.post("/language/", {"language": "zh-hans"}, headers={"Referer": here})
    assert (answer.status_code, answer["Location"]) == (HTTPStatus.FOUND, here)
    cookie = answer.cookies["django_language"]
    assert (cookie.value, cookie["max-age"]) == ("zh-hans", 365 * 24 * 3600)
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    english = {"Accept-Language": "en"}
    assert "<h1>照片" in client.get("/", headers=english).content.decode()
    # Signed out, too.
    client.post("/accounts/logout/")
    assert "<h1>登录</h1>" in client.get("/accounts/login/", headers=english).content.decode()
    client.post("/language/", {"language": "en"})
    assert "<h1>Sign in</h1>" in client.get("/accounts/login/", headers=CHINESE).content.decode()


def test_the_switch_leads_nowhere_else(db: None, client: Client) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        answer = client.post("/language/", {"language": "zh-hans"}, headers={"Referer": elsewhere})
        assert answer["Location"] == "/"
        answer = client.post("/language/", {"language": "zh-hans", "next": elsewhere})
        assert answer["Location"] == "/"


def test_where_there_is_no_form_a_link_leads_to_it(
    client: Client, places: dict[str, object]
) -> None:
    shared = f"/s/{places['token']}/"
    page = client.get(shared)
    link = re.search(r'<a class="language" href="([^"]+)"', page.content.decode())
    assert link is not None
    assert not page.cookies  # whoever only looks at photos gets none
    asked = client.get(link[1], headers={"Referer": f"http://testserver{shared}"})
    assert 'data-testid="language-zh-hans"' in asked.content.decode()
    back = re.search(r'name="next" value="([^"]+)"', asked.content.decode())
    assert back is not None
    answer = client.post("/language/", {"language": "zh-hans", "next": back[1]})
    assert answer["Location"] == f"http://testserver{shared}"
    assert "全部下载" in client.get(shared).content.decode()
    evil = client.get("/language/", headers={"Referer": "https://evil.example/"})
    assert 'name="next" value="/"' in evil.content.decode()


def test_no_other_site_can_switch(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/language/", {"language": "zh-hans"}).status_code == HTTPStatus.FORBIDDEN
    assert "django_language" not in client.get("/language/?language=zh-hans").cookies


def test_an_unknown_language_changes_nothing(db: None, client: Client) -> None:
    assert "django_language" not in client.post("/language/", {"language": "tlh"}).cookies


@pytest.mark.parametrize("path", FOR_ANYBODY + SHARED)
def test_every_page_for_anybody_has_the_switch_and_is_chinese(
    client: Client, places: dict[str, object], path: str
) -> None:
    check_page(client, path.format(**places))


@pytest.mark.parametrize("path", SIGNED_IN)
def test_every_page_of_a_person_has_the_switch_and_is_chinese(
    client: Client, ann: User, places: dict[str, object], path: str
) -> None:
    # Stays in the language of who made the index: it holds a name.
    SearchIndex.objects.update(reason="")
    client.force_login(ann)
    check_page(client, path.format(**places))


def check_page(client: Client, path: str) -> None:
    response = client.get(path, headers=CHINESE, follow=True)
    page = response.content.decode()
    assert page.count('data-testid="language-en"') == 1
    assert re.search(r'lang="en" data-testid[^>]*>(<svg.*?</svg>)?\s*(<span[^>]*>)?English<', page)
    assert 'data-testid="language-zh-hans"' not in page
    read = Read(page)
    assert read.language == response["Content-Language"] == "zh-hans"
    # Django's admin has these as alternative texts and does not translate them.
    names = NAMES | {"search", "true", "false"} if path.startswith("/admin/") else NAMES
    left = [piece for piece in read.english() if piece.lower().strip("“”") not in names]
    assert left == [], path


def test_a_failure_is_told_in_chinese(
    db: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("allauth.account.views.LoginView.get_context_data", fail)
    client.raise_request_exception = False
    response = client.get("/accounts/login/", headers=CHINESE)
    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "出错了" in response.content.decode()


def test_stored_reasons_are_translated_when_they_are_shown(
    client: Client, ann: User, places: dict[str, object]
) -> None:
    client.force_login(ann)
    path = f"/photos/{places['failed']}/"
    assert "无法解码此图片。" in client.get(path, headers=CHINESE).content.decode()
    assert "The picture can&#x27;t be decoded." in client.get(path).content.decode()


def test_the_apis_errors_follow_the_clients_language(ann: User, client: Client) -> None:
    def error(method: str, path: str, **options: object) -> str:
        response = getattr(client, method)(path, headers=CHINESE, **options)
        assert response["Content-Language"] == "zh-hans"
        return str(response.json())

    assert "身份认证信息未提供。" in error("get", "/api/v1/photos/")
    wrong = {"username": "ann", "password": "wrong"}
    assert re.search("[\u4e00-\u9fff]", error("post", "/api/v1/auth/token/", data=wrong))
    client.force_login(ann)
    file = BytesIO(b"no picture")
    file.name = "a.jpg"
    assert "这不是图片，或其格式无法识别。" in error("post", "/api/v1/photos/", data={"file": file})
    assert "请输入要搜索的内容。" in error("get", "/api/v1/search/")
    assert "日期请写成" in error("get", "/api/v1/search/?q=after:soon")
    english = client.get("/api/v1/search/")
    assert english.json()["errors"] == {"q": ["Say what to look for."]}


def test_an_upload_is_refused_in_the_language_of_the_page(ann: User, client: Client) -> None:
    client.force_login(ann)
    client.post("/language/", {"language": "zh-hans"})
    file = BytesIO(draw_picture(1)[:500])
    file.name = "a.jpg"
    answer = client.post("/api/v1/photos/", {"file": file}, headers={"Accept-Language": "en"})
    assert answer.json()["errors"] == {"file": ["图片已损坏或不完整。"]}


def test_messages_by_mail_are_in_the_language_of_the_page(ann: User, client: Client) -> None:
    client.post("/accounts/password/reset/", {"email": ann.email}, headers=CHINESE)
    [message] = mail.outbox
    assert "你好，" in message.body
    assert not re.search(r"(?:[A-Za-z]+ ){3}", f"{message.subject} {message.body}")


def test_numbers_and_dates_are_written_as_in_china(
    ann: User, client: Client, places: dict[str, object]
) -> None:
    with translation.override("zh-hans"):
        assert intcomma(1_234_567) == "1,234,567"
    client.force_login(ann)
    assert (
        "2024年5月17日 10:00"
        in client.get(f"/photos/{places['photo']}/", headers=CHINESE).content.decode()
    )
    page = client.get("/search/?q=after:2024-05", headers=CHINESE).content.decode()
    assert "2024年5月起" in page
    # The browser's own field takes nothing but ISO 8601.
    assert 'value="2024-05-01"' in page


def test_what_is_no_text_is_written_the_same(client: Client, ann: User) -> None:
    photo = photo_of(ann)
    Photo.objects.filter(pk=photo.pk).update(id=1_234_567, latitude=52.5, longitude=13.25)
    client.force_login(ann)
    for path in ("/", "/photos/1234567/"):
        page = client.get(path, headers=CHINESE).content.decode()
        assert 'data-photo-id="1234567"' in page
        assert not re.search(r'(?:href|action|src|id|hx-get|hx-post)="[^"]*1[.,]234', page), path


def test_the_switch_is_at_its_address() -> None:
    assert reverse("set_language") == "/language/"

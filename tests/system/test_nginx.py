"""What people get through nginx, as docker-compose.yml configures it, from the running system."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from tests import s3
from tests.conftest import draw_picture
from tests.fetching import Answer, fetch
from tests.nginx import RunningNginx
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.nginx]

PASSWORD = "correct horse battery"
MAX_UPLOAD_MB = 2


class Visitor:
    """A browser, as far as cookies go."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._cookies: dict[str, str] = {}

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self._asked(path, method, headers, None)

    def post(self, path: str, fields: dict[str, str]) -> Answer:
        content = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields | {"csrfmiddlewaretoken": self._cookies["csrftoken"]})
        return self._asked(path, "POST", content, body.encode())

    def upload(self, content: bytes, name: str = "picture.jpg", **headers: str) -> Answer:
        path = Path(name)
        form = encode_multipart(BOUNDARY, {"file": _Upload(content, path.name)})
        sent = {"Content-Type": MULTIPART_CONTENT, "X-CSRFToken": self._cookies["csrftoken"]}
        return self._asked("/api/v1/photos/", "POST", sent | headers, form)

    def _asked(self, path: str, method: str, headers: dict[str, str], body: bytes | None) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Cookie": cookies, "Origin": self.base_url} | named
        answer = fetch(self.base_url + path, method, headers=sent, body=body)
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                self._cookies[name] = morsel.value
        return answer

    def sign_in(self, name: str) -> None:
        assert self.get("/accounts/login/").status == 200
        answer = self.post("/accounts/login/", {"login": name, "password": PASSWORD})
        assert (answer.status, answer.headers["Location"]) == (302, "/")


class _Upload:
    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        self._content = content

    def read(self) -> bytes:
        return self._content


def add_people(system: RunningSystem) -> None:
    system.run_in_shell(
        "from accounts.models import User",
        "for name in ('ann', 'ben'):",
        f"    User.objects.create_user(name, name + '@example.com', {PASSWORD!r})",
    )


@pytest.fixture(scope="module")
def behind(systems_directory: Path, nginx_binary: str) -> Iterator[RunningSystem]:
    """A system that expects nginx in front of it."""
    environment = {
        "SEARCH_ENCODER": "starter",
        "MAX_UPLOAD_MB": str(MAX_UPLOAD_MB),
        "SERVE_FILES_WITH": "nginx",
        "TRUSTED_PROXIES": "1",
    }
    with RunningSystem.start(systems_directory / "nginx", environment=environment) as system:
        add_people(system)
        yield system


@pytest.fixture(scope="module")
def nginx(
    behind: RunningSystem, nginx_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningNginx]:
    with RunningNginx(
        nginx_binary,
        tmp_path_factory.mktemp("nginx"),
        web=f"127.0.0.1:{behind.port}",
        data=behind.layout.root,
        variables={"MAX_UPLOAD_MB": str(MAX_UPLOAD_MB)},
    ) as running:
        yield running


@pytest.fixture
def ann(nginx: RunningNginx) -> Visitor:
    visitor = Visitor(nginx.base_url)
    visitor.sign_in("ann")
    return visitor


@pytest.fixture
def photo(behind: RunningSystem, ann: Visitor) -> dict[str, Any]:
    answer = ann.upload(draw_picture(1))
    assert answer.status in {200, 201}, answer.body
    photo: dict[str, Any] = json.loads(answer.body)

    def ready() -> bool:
        shown = json.loads(ann.get(f"/api/v1/photos/{photo['id']}/").body)
        return bool(shown["status"] == "ready")

    behind.wait_until(ready, 60, "the photo is ready")
    return photo


def test_a_page(nginx: RunningNginx) -> None:
    answer = fetch(f"{nginx.base_url}/accounts/login/")
    assert answer.status == 200
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])
    assert fetch(f"{nginx.base_url}/healthz").body == b'{"status": "ok"}'


def test_static_files_are_compressed_and_kept(nginx: RunningNginx) -> None:
    page = fetch(f"{nginx.base_url}/accounts/login/").body.decode()
    paths = re.findall(r'"(/static/[^"]+\.css)"', page)
    assert paths
    for path in paths:
        plain = fetch(nginx.base_url + path)
        packed = fetch(nginx.base_url + path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        for answer in (plain, packed):
            assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Vary"] == "Accept-Encoding"
            # That of nginx: the web server was not asked.
            assert answer.headers["Server"] == "nginx"
    plain = fetch(f"{nginx.base_url}/static/css/base.css")
    assert (plain.status, plain.headers["Cache-Control"]) == (200, "max-age=60")
    for path in ("/static/", "/static/../secret_key", "/static/%2e%2e/secret_key", "/static../run"):
        assert fetch(nginx.base_url + path).status in {400, 403, 404}


@pytest.mark.parametrize("variant", ["thumbnail", "preview", "original"])
def test_photos_come_from_nginx(
    behind: RunningSystem, ann: Visitor, photo: dict[str, Any], variant: str
) -> None:
    path = f"/photos/{photo['id']}/{variant}/"
    name = behind.query(f"SELECT {variant} FROM gallery_photo")[0][0]  # noqa: S608
    content = (behind.layout.media / name).read_bytes()
    direct = Visitor(behind.base_url)
    direct.sign_in("ann")
    told = direct.get(path)
    assert (told.body, told.headers["X-Accel-Redirect"]) == (b"", f"/private-media/{name}")

    answer = ann.get(path)
    assert (answer.status, answer.body) == (200, content)
    assert "X-Accel-Redirect" not in answer.headers
    for header in (
        *("ETag", "Cache-Control", "Content-Type", "Content-Disposition", "Vary"),
        *("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"),
    ):
        assert answer.headers.get_all(header) == told.headers.get_all(header), header

    part = ann.get(path, Range="bytes=10-19")
    assert (part.status, part.body) == (206, content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    same = ann.get(path, Range="bytes=10-19", If_Range=answer.headers["ETag"])
    assert (same.status, same.body) == (206, content[10:20])
    changed = ann.get(path, Range="bytes=10-19", If_Range='"other"')
    assert (changed.status, changed.body) == (200, content)

    known = ann.get(path, If_None_Match=answer.headers["ETag"])
    assert (known.status, known.body) == (304, b"")
    head = ann.get(path, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))


def test_nobody_else_gets_them(
    nginx: RunningNginx, behind: RunningSystem, photo: dict[str, Any], ann: Visitor
) -> None:
    ben = Visitor(nginx.base_url)
    ben.sign_in("ben")
    for path in (f"/photos/{photo['id']}/original/", f"/photos/{photo['id']}/thumbnail/"):
        assert ben.get(path).status == 404
        assert Visitor(nginx.base_url).get(path).status == 302
    name = behind.query("SELECT original FROM gallery_photo")[0][0]
    for visitor in (ann, ben):
        for path in (f"/private-media/{name}", "/private-media/", "/private-bucket/photos/x"):
            assert visitor.get(path).status == 404


def test_downloads_have_their_name(ann: Visitor, photo: dict[str, Any]) -> None:
    answer = ann.get(f"/photos/{photo['id']}/original/?download=1")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="picture.jpg"'


def test_too_large_a_body_is_refused_with_a_page(ann: Visitor) -> None:
    huge = b"0" * ((MAX_UPLOAD_MB + 2) * 1024 * 1024 + 1)
    answer = ann.upload(huge)
    assert (answer.status, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert json.loads(answer.body)["code"] == "too_large"
    for language, words in (("en-GB,en", "too large"), ("zh-CN,zh;q=0.9", "文件太大")):
        page = ann._asked("/search/", "POST", {"Accept-Language": language}, huge)
        assert page.status == 413
        assert page.headers["Content-Type"].startswith("text/html")
        assert words in page.body.decode()
    # Over the limit for files, but not for bodies: the web server says what is wrong.
    answer = ann.upload(b"0" * (MAX_UPLOAD_MB * 1024 * 1024 + 1))
    assert answer.status == 400
    assert "larger than" in json.loads(answer.body)["errors"]["file"][0]
    # And a file of just that size is looked at.
    answer = ann.upload(b"0" * MAX_UPLOAD_MB * 1024 * 1024)
    assert "not a picture" in json.loads(answer.body)["errors"]["file"][0]


def test_of_strangers_no_file_is_taken_in(nginx: RunningNginx) -> None:
    for path, status in (("/api/v1/photos/", 401), ("/search/picture/", 302), ("/search/", 413)):
        answer = fetch(f"{nginx.base_url}{path}", "POST", body=bytes(2 * 1024 * 1024))
        assert answer.status == status


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers that arrived."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("trusted", "address", "scheme"),
    [("192.0.2.1", "127.0.0.1", "http"), ("127.0.0.0/8", "203.0.113.7", "https")],
)
def test_only_a_proxy_that_is_trusted_says_who_the_client_is(
    nginx_binary: str, tmp_path: Path, trusted: str, address: str, scheme: str
) -> None:
    echo = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    try:
        with RunningNginx(
            nginx_binary,
            tmp_path,
            web=f"127.0.0.1:{echo.server_port}",
            data=tmp_path,
            variables={"NGINX_TRUSTED_PROXY": trusted},
        ) as running:
            sent = {
                "X-Forwarded-For": "203.0.113.7",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "elsewhere.example.org",
                "Forwarded": "for=203.0.113.7",
                "X-Real-Ip": "203.0.113.7",
                "X-Request-Id": "chosen-by-the-client",
            }
            arrived = json.loads(fetch(running.base_url, headers=sent).body)
    finally:
        echo.shutdown()
        echo.server_close()
    assert arrived["host"] == f"127.0.0.1:{running.port}"
    assert (arrived["x-forwarded-for"], arrived["x-forwarded-proto"]) == (address, scheme)
    assert re.fullmatch(r"[0-9a-f]{32}", arrived["x-request-id"])
    assert not {"x-forwarded-host", "forwarded", "x-real-ip"} & set(arrived)


def test_tokens_stay_out_of_the_log(nginx: RunningNginx) -> None:
    fetch(f"{nginx.base_url}/s/whispered-token/?q=a+whispered+word")
    fetch(f"{nginx.base_url}/accounts/password/reset/key/1-whispered-key/")
    assert " /s/-/ " in nginx.access_log
    assert "whispered" not in nginx.access_log


def test_without_the_web_server_there_is_a_page(
    nginx_binary: str, behind: RunningSystem, tmp_path: Path
) -> None:
    with RunningNginx(
        nginx_binary, tmp_path, web="127.0.0.1:9", data=behind.layout.root, variables={}
    ) as running:
        page = fetch(running.base_url)
        assert (page.status, page.headers["Retry-After"]) == (503, "5")
        assert "Back in a moment" in page.body.decode()
        problem = fetch(f"{running.base_url}/api/v1/photos/")
        said = json.loads(problem.body)
        assert (problem.status, said["status"], said["code"]) == (503, 503, "unavailable")


def test_tls_ends_here(nginx_binary: str, behind: RunningSystem, tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", certificates / "privkey.pem", "-out", certificates / "fullchain.pem"),
        ],
        capture_output=True,
        check=True,
    )
    with RunningNginx(
        nginx_binary,
        tmp_path,
        web=f"127.0.0.1:{behind.port}",
        data=behind.layout.root,
        variables={"NGINX_SITE": "tls"},
    ) as running:
        plain = fetch(f"{running.base_url}/albums/?page=2")
        assert plain.status == 308
        assert plain.headers["Location"] == "https://127.0.0.1/albums/?page=2"
        trust = ssl.create_default_context(cafile=certificates / "fullchain.pem")
        connection = HTTPSConnection("localhost", running.tls_port, context=trust, timeout=60)
        connection.request("GET", "/accounts/login/")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.fixture
def s3_behind(
    systems_directory: Path, nginx_binary: str, tmp_path: Path
) -> Iterator[tuple[RunningSystem, RunningNginx, str]]:
    """A system with its photos in S3, which only it and nginx can reach."""
    with s3.running_s3(tmp_path / "s3.log") as address:
        environment = {
            "SEARCH_ENCODER": "starter",
            "SERVE_FILES_WITH": "nginx",
            "TRUSTED_PROXIES": "1",
            "S3_BUCKET": s3.BUCKET,
            "S3_ENDPOINT_URL": address,
            "S3_REGION": s3.REGION,
            "S3_ACCESS_KEY_ID": s3.KEY,
            "S3_SECRET_ACCESS_KEY": s3.SECRET,
        }
        directory = systems_directory / "nginx-s3"
        with (
            RunningSystem.start(directory, environment=environment) as system,
            RunningNginx(
                nginx_binary,
                tmp_path,
                web=f"127.0.0.1:{system.port}",
                data=system.layout.root,
                variables={"S3_ENDPOINT_URL": address},
            ) as running,
        ):
            add_people(system)
            yield system, running, address


def test_photos_come_from_a_bucket_that_nobody_sees(
    s3_behind: tuple[RunningSystem, RunningNginx, str],
) -> None:
    system, nginx, address = s3_behind
    ann, ben = Visitor(nginx.base_url), Visitor(nginx.base_url)
    ann.sign_in("ann")
    ben.sign_in("ben")
    content = draw_picture(1)
    photo = json.loads(ann.upload(content).body)

    def ready() -> bool:
        shown = json.loads(ann.get(f"/api/v1/photos/{photo['id']}/").body)
        return bool(shown["status"] == "ready")

    system.wait_until(ready, 60, "the photo is ready")
    assert len(s3.names_in(address)) == 3
    assert list(system.layout.media.rglob("*.jpg")) == []

    path = f"/photos/{photo['id']}/original/"
    answer = ann.get(path)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["ETag"].startswith(f'"{hashlib.sha256(content).hexdigest()}-')
    for header, value in {
        "Content-Type": "image/jpeg",
        "Content-Disposition": 'inline; filename="picture.jpg"',
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }.items():
        assert answer.headers.get_all(header) == [value]
    assert {"Cookie", "Authorization"} <= set(answer.headers["Vary"].split(", "))
    assert not {"x-amz-request-id", "x-amzn-requestid"} & {name.lower() for name in answer.headers}
    assert "Location" not in answer.headers
    part = ann.get(path, Range="bytes=10-19")
    assert (part.status, part.body) == (206, content[10:20])
    assert ann.get(path, If_None_Match=answer.headers["ETag"]).status == 304
    head = ann.get(path, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
    assert ann.get(f"/photos/{photo['id']}/thumbnail/").body[:2] == b"\xff\xd8"
    assert ben.get(path).status == 404
    s3.empty(address)
    gone = ann.get(path)
    assert gone.status == 404
    # Beside what the web server said of the file it took to be there.
    assert "no-store" in gone.headers.get_all("Cache-Control", [])
    assert b"moto" not in gone.body

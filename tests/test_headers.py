"""The headers that keep a page from doing what it should not."""

from __future__ import annotations

import pytest
from django.test import Client

PAGES = ["/accounts/login/", "/accounts/signup/", "/api/docs/", "/api/v1/photos/", "/no/such/page/"]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_them(db: None, client: Client, path: str) -> None:
    response = client.get(path)
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == policy["form-action"] == "'self'"
    # Scripts come as files of this site, on every page.
    assert policy.get("script-src", "'self'") == "'self'"
    assert "unsafe-eval" not in response["Content-Security-Policy"]
    assert "camera=()" in response["Permissions-Policy"]
    assert "publickey-credentials-get=(self)" in response["Permissions-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"

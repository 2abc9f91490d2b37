"""The admin site: Django's, with the search console in it."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, include, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class AdminSite(admin.AdminSite):
    site_title = _("t2isearch administration")
    site_header = _("t2isearch administration")

    @method_decorator(secure_admin_login)
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """By the site's own page: Django's would limit no guesses and ask for no second step."""
        return super().login(request, extra_context)

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """By the site's own page as well: Django's takes any number of guesses at the old one."""
        return redirect("account_change_password")

    def get_urls(self) -> list[URLResolver | URLPattern]:
        from search import console

        # Before the admin's own, whose last pattern takes everything.
        return [path("search/console/", include(console.urlpatterns(self))), *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """With the console before the search's tables, for those who may see it."""
        from search import console

        apps = super().get_app_list(request, app_label)
        for app in apps:
            if app["app_label"] == "search" and console.may(request, "view"):
                app["models"].insert(
                    0,
                    {
                        "name": gettext("Console"),
                        "object_name": "Console",
                        "admin_url": reverse("admin:search_console"),
                        "add_url": None,
                        "view_only": True,
                        "perms": {"view": True},
                    },
                )
        return apps

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig as DefaultAdminConfig


class AdminConfig(DefaultAdminConfig):
    default_site = "t2isearch.admin.AdminSite"

    def ready(self) -> None:
        super().ready()
        from rest_framework.authtoken.models import TokenProxy

        # Its pages show the keys of people's tokens: who may see those could be anybody.
        if admin.site.is_registered(TokenProxy):
            admin.site.unregister(TokenProxy)

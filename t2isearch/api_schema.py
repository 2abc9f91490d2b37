"""How the API's schema (OpenAPI 3) is drawn from its views."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema as DefaultAutoSchema

from accounts.permissions import HasScope, required_scope
from t2isearch.api_errors import COMPONENTS, CONFLICT


class AutoSchema(DefaultAutoSchema):
    """Says of each operation which scope it needs of an access token, and that changes can meet."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None or not self._is_scoped():
            return operation
        if self.method != "GET":
            operation["responses"].setdefault("409", CONFLICT)
        scope = required_scope(self.view, self.method)
        if scope is not None:
            needs = f"An access token needs the scope `{scope.value}`."
            described = operation.get("description", "")
            operation["description"] = f"{described}\n\n{needs}".strip()
            operation["x-required-scope"] = scope.value
        return operation

    def _is_scoped(self) -> bool:
        return any(isinstance(each, HasScope) for each in self.view.get_permissions())


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """One kind of token with two words for it, either of which will do."""

    target_class = "accounts.authentication.AccessTokenAuthentication"
    name = ["accessToken", "tokenAuth"]

    def get_security_requirement(
        self, auto_schema: DefaultAutoSchema
    ) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: DefaultAutoSchema) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "t2i_…",
                "description": (
                    "An access token, made on the page of the account. It does what its scopes "
                    "allow: `photos:read`, `photos:write`, `search`."
                ),
            },
            {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": 'Token-based authentication with required prefix "Token"',
            },
        ]


def add_problems(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Put the shapes of errors, which come from no serializer, among the components."""
    result["components"]["schemas"] |= COMPONENTS
    return result

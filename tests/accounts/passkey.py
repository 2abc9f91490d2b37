"""A passkey in software: what a browser would send, honest or not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.urls import reverse
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

ORIGIN = "https://testserver"
FLAG = AuthenticatorData.FLAG


class Passkey:
    """One credential of one person at `testserver`."""

    def __init__(self, number: int = 1, *, origin: str = ORIGIN, verified: bool = True) -> None:
        self.credential_id = number.to_bytes(16, "big")
        self.origin = origin
        self.verified = verified
        self.user_handle = b""
        self._key = ec.generate_private_key(ec.SECP256R1())

    def register(self, client: Client, **changes: Any) -> Any:
        """Add it on the page, as the person who is signed in."""
        page = client.get(reverse("mfa_add_webauthn"))
        options = page.context["js_data"]["creation_options"]["publicKey"]
        self.user_handle = websafe_decode(options["user"]["id"])
        public = ES256.from_cryptography_key(self._key.public_key())  # type: ignore[no-untyped-call]
        attested = AttestedCredentialData.create(b"\0" * 16, self.credential_id, public)
        data = self._data(FLAG.AT, bytes(attested))
        credential = self._credential(
            clientDataJSON=self._client_data("webauthn.create", options["challenge"]),
            attestationObject=bytes(AttestationObject.create("none", data, {})),
        )
        credential["clientExtensionResults"] = {"credProps": {"rk": True}}
        sent = {"name": "Phone", "passwordless": "on", "credential": json.dumps(credential)}
        return client.post(reverse("mfa_add_webauthn"), sent | changes)

    def answer(self, challenge: str, **changes: Any) -> dict[str, Any]:
        """What it says to a challenge."""
        client_data = self._client_data("webauthn.get", challenge)
        data = self._data()
        signed = bytes(data) + hashlib.sha256(client_data).digest()
        credential = self._credential(
            clientDataJSON=client_data,
            authenticatorData=bytes(data),
            signature=self._key.sign(signed, ec.ECDSA(hashes.SHA256())),
            userHandle=changes.pop("user_handle", self.user_handle),
        )
        return credential | changes

    def _data(self, more: FLAG = FLAG(0), attested: bytes = b"") -> AuthenticatorData:  # noqa: B008
        flags = FLAG.UP | more | (FLAG.UV if self.verified else FLAG(0))
        relying_party = hashlib.sha256(b"testserver").digest()
        data: AuthenticatorData = AuthenticatorData.create(relying_party, flags, 0, attested)
        return data

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return bytes(CollectedClientData.create(kind, challenge, self.origin))

    def _credential(self, **response: bytes) -> dict[str, Any]:
        key = websafe_encode(self.credential_id)
        encoded = {name: websafe_encode(value) for name, value in response.items()}
        return {"id": key, "rawId": key, "type": "public-key", "response": encoded}


def challenge_to_sign_in(client: Client) -> str:
    """As the page of signing in asks for it."""
    asked = client.get(reverse("mfa_login_webauthn"), headers={"Accept": "application/json"})
    challenge: str = asked.json()["request_options"]["publicKey"]["challenge"]
    return challenge


def send(client: Client, credential: Any, name: str = "mfa_login_webauthn") -> Any:
    return client.post(reverse(name), {"credential": json.dumps(credential)})

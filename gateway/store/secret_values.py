"""Secrets that have to be read again, encrypted: the keys of webhooks, the private keys of security event tokens."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

#: What a sealed value begins with; another way of sealing gets another number.
_PREFIX = "s1."
_NONCE = 12


class UnreadableSecret(Exception):
    """No key of this deployment opens a stored secret."""

    def __init__(self) -> None:
        super().__init__(
            "A stored secret cannot be read: it was stored under another GATEWAY_SECRET_KEY. Name that key in"
            " GATEWAY_SECRET_KEY_OLD, or make the secret anew."
        )


class OpenedSecret(NamedTuple):
    """A secret in the clear; `stale`: it was sealed under an older key."""

    text: str
    stale: bool

    def __repr__(self) -> str:
        """Leave out the secret."""
        return f"OpenedSecret(stale={self.stale})"


class SecretValues:
    """Encrypts and decrypts with AES-256-GCM, under keys derived from the secret keys by HKDF (RFC 5869).

    A value is bound to its owner: a copy in the row of another one cannot be opened there.
    """

    def __init__(self, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._secret_keys = (secret_key, *old_keys)

    def seal(self, owner: str, text: str) -> str:
        """Encrypt a secret of the owner with this id."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._ciphers[0].encrypt(nonce, text.encode(), owner.encode())
        return _PREFIX + base64.b64encode(sealed).decode()

    def open(self, owner: str, sealed: str) -> OpenedSecret:
        """Decrypt a secret of the owner with this id. Raises UnreadableSecret."""
        from cryptography.exceptions import InvalidTag  # late: as _ciphers

        try:
            data = base64.b64decode(sealed.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise UnreadableSecret from None
        if not sealed.startswith(_PREFIX) or len(data) < _NONCE + 16:
            raise UnreadableSecret
        for number, cipher in enumerate(self._ciphers):
            try:
                text = cipher.decrypt(data[:_NONCE], data[_NONCE:], owner.encode())
            except InvalidTag:
                continue
            return OpenedSecret(text.decode(), number > 0)
        raise UnreadableSecret

    @cached_property
    def _ciphers(self) -> list[Any]:
        # Late: a deployment without such secrets does not load the library.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        def derive(key: str) -> bytes:
            return HKDF(SHA256(), 32, salt=None, info=b"gateway stored secrets").derive(key.encode())

        return [AESGCM(derive(key)) for key in self._secret_keys]

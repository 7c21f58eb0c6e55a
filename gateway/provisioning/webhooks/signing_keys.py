"""Keys of security event tokens: ES256 (RFC 7518, 3.4), a new one every 90 days, known to receivers before it signs."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from gateway.scim.json_text import Json
from gateway.store import Store
from gateway.store.ids_and_time import DAY, SECOND
from gateway.store.secret_values import UnreadableSecret
from gateway.store.signing_keys import SigningKeyRecord

log = logging.getLogger("gateway")

#: How long a key signs, how long before that it is shown, and how long after.
SIGNING, ANNOUNCED, RETIRED = 90 * DAY, DAY, 7 * DAY
#: How long a process uses what it has read of the keys.
_CACHED = 60 * SECOND


class TokenKeys:
    """The keys of the deployment, as one process uses them. Times are in microseconds.

    Where two processes make a key at one moment both are shown, and both sign with the one that sorts first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: list[SigningKeyRecord] = []
        self._read_at: int | None = None
        #: The key that was opened last, and its id.
        self._opened: tuple[str, Any] | None = None
        self._lock = threading.RLock()

    def prepare(self, moment: int) -> None:
        """Make the first key, or the next one if it is time to show it."""
        with self._lock:
            newest = max((key.created for key in self._read(moment)), default=None)
            if newest is None:
                self._add(moment, moment)
            elif newest + SIGNING - ANNOUNCED <= moment:
                # After months without a token it is as new to receivers as any.
                self._add(max(newest + SIGNING, moment + ANNOUNCED), moment)

    def sign(self, claims: Json, moment: int) -> bytes:
        """Return a signed token. What it reads of the store it reads once a minute."""
        from joserfc import jwt  # late: a deployment without tokens does not import it

        with self._lock:
            self.prepare(moment)
            kid, key = self._current(moment)
        header = {"alg": "ES256", "typ": "secevent+jwt", "kid": kid}  # RFC 8417, 2.3
        return jwt.encode(header, claims, key, algorithms=["ES256"]).encode()

    def public_keys(self, moment: int) -> list[Json]:
        """Return the JSON Web Keys that receivers may meet, none before the first token was asked for."""
        with self._lock:
            keys = self._read(moment)
        return [json.loads(key.public) for key in keys if key.shown_until is None or key.shown_until > moment]

    def _read(self, moment: int, anew: bool = False) -> list[SigningKeyRecord]:
        if anew or self._read_at is None or not 0 <= moment - self._read_at < _CACHED:
            self._keys, self._read_at = self._store.signing_keys.all(), moment
        return self._keys

    def _current(self, moment: int) -> tuple[str, Any]:
        """Return the id of the key that signs, and the key."""
        from joserfc.jwk import ECKey

        for key in self._keys:
            if key.created > moment:
                continue
            if self._opened and self._opened[0] == key.kid:
                return self._opened
            try:
                private = self._store.signing_keys.open(key)
            except UnreadableSecret as error:
                log.warning("the key %s of security event tokens is not used: %s", key.kid, error)
                continue
            self._opened = key.kid, ECKey.import_key(private)
            return self._opened
        self._add(moment, moment)
        return self._current(moment)

    def _add(self, created: int, moment: int) -> None:
        """Make a key, unless another process has made one meanwhile that signs then."""
        from joserfc.jwk import ECKey

        known = {key.kid for key in self._keys}
        if any(key.kid not in known for key in self._read(moment, anew=True)):
            return
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, private=True, auto_kid=True)
        private, public = key.as_pem(private=True).decode(), json.dumps(key.as_dict(private=False))
        with self._store.transaction():
            self._store.signing_keys.add(key.thumbprint(), private, public, created, created + RETIRED)
            self._store.signing_keys.prune(moment)
        self._read(moment, anew=True)

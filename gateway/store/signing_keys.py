"""Keys that sign security event tokens. Private ones are encrypted; public ones stay for a while after they signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.store.engine.base import Database
from gateway.store.secret_values import SecretValues

#: Most keys that are read: some months apart, there are three at a time.
_KEYS_READ = 20


class SigningKeyRecord(NamedTuple):
    """A key. Its private half is encrypted; times are in microseconds."""

    kid: str
    private: str
    #: JSON Web Key (RFC 7517).
    public: str
    #: From when on it signs.
    created: int
    #: Until when its public half is shown, None for the newest key.
    shown_until: int | None

    def __repr__(self) -> str:
        """Leave out the private half."""
        return f"SigningKeyRecord(kid={self.kid!r}, created={self.created})"


class SigningKeys:
    """The stored keys of the deployment."""

    def __init__(self, database: Database, secret_key: str, old_keys: Sequence[str] = ()) -> None:
        self._db, self._secrets = database, SecretValues(secret_key, old_keys)

    def all(self) -> list[SigningKeyRecord]:
        """Return the keys, the newest first."""
        rows = self._db.all(
            f"SELECT {', '.join(SigningKeyRecord._fields)} FROM signing_keys ORDER BY created DESC, kid LIMIT ?",
            _KEYS_READ,
        )
        return [SigningKeyRecord._make(row) for row in rows]

    def add(self, kid: str, private: str, public: str, created: int, older_shown_until: int) -> None:
        """Insert a key that signs from `created` on; older ones are shown until `older_shown_until`."""
        self._db.run(
            "INSERT INTO signing_keys (kid, private, public, created) VALUES (?, ?, ?, ?)",
            *(kid, self._secrets.seal(kid, private), public, created),
        )
        self._db.run(
            "UPDATE signing_keys SET shown_until = ? WHERE shown_until IS NULL AND created < ? AND kid <> ?",
            *(older_shown_until, created, kid),
        )

    def prune(self, moment: int) -> None:
        """Delete the keys that are no longer shown."""
        self._db.run("DELETE FROM signing_keys WHERE shown_until < ?", moment)

    def open(self, key: SigningKeyRecord) -> str:
        """Return the private half, encrypted anew if an older secret key opened it. Raises UnreadableSecret."""
        secret = self._secrets.open(key.kid, key.private)
        if secret.stale:
            sealed = self._secrets.seal(key.kid, secret.text)
            self._db.run("UPDATE signing_keys SET private = ? WHERE kid = ?", sealed, key.kid)
        return secret.text

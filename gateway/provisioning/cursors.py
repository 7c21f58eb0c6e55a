"""Cursors (RFC 9865): where a page ended, sealed, so that a client can only hand back what it was given."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import struct
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from gateway.scim.errors import ExpiredCursor, InvalidCursor
from gateway.store.ids_and_time import SECOND, now
from gateway.store.records import ConnectionRecord

#: Seconds that a cursor may be used for.
LIFETIME = 3600
#: The place, the connection's key, the moment, and a digest of the list.
_HELD = struct.Struct(">QQQ16s")
_SEAL = hashlib.sha256().digest_size
#: 72 bytes are 96 letters without padding, so that each cursor is spelt in one way only.
_LETTERS = (_HELD.size + _SEAL) // 3 * 4


class Cursors:
    """Makes cursors and reads them. Any process with the deployment's key can read those of any other."""

    def __init__(self, secret_key: str, clock: Callable[[], int] = now, old_keys: Sequence[str] = ()) -> None:
        self._keys, self._clock = [key.encode() for key in (secret_key, *old_keys)], clock

    def seal(self, connection: ConnectionRecord, query: str, place: int) -> str:
        """Return a cursor that continues after a position of the list."""
        held = _HELD.pack(place, connection.id, self._clock(), _digest(query))
        return urlsafe_b64encode(held + _seal(self._keys[0], held)).decode()

    def open(self, connection: ConnectionRecord, query: str, cursor: str) -> int:
        """Return the position in a cursor, 0 for the empty cursor of a first page.

        Raises InvalidCursor or ExpiredCursor.
        """
        if not cursor:
            return 0
        place, key, moment, digest = self._held(cursor)
        if (key, digest) != (connection.id, _digest(query)):
            raise _strange()
        if self._clock() - moment > LIFETIME * SECOND:
            raise ExpiredCursor(
                f"The cursor is older than {LIFETIME} seconds. Begin again with an empty cursor."
            )
        return place

    def _held(self, cursor: str) -> tuple[int, int, int, bytes]:
        try:
            sealed = b64decode(cursor, altchars=b"-_", validate=True) if len(cursor) == _LETTERS else b""
        except (ValueError, binascii.Error):
            sealed = b""
        held, seal = sealed[: _HELD.size], sealed[_HELD.size :]
        if not any(hmac.compare_digest(seal, _seal(key, held)) for key in self._keys):
            raise _strange()
        return _HELD.unpack(held)


def _seal(key: bytes, held: bytes) -> bytes:
    # Tokens are digested under the same key: the word in front keeps the two apart.
    return hmac.digest(key, b"cursor\0" + held, "sha256")


def _strange() -> InvalidCursor:
    # RFC 9865, 5.2: forged, damaged, or somebody else's: who guesses learns nothing from the sentence.
    return InvalidCursor("The cursor is none that was given out for this query. Begin with an empty cursor.")


def _digest(query: str) -> bytes:
    return hashlib.sha256(query.encode()).digest()[:16]

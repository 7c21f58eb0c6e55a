"""Bodies that come compressed (RFC 9110, 8.4), unpacked within a bound."""

from __future__ import annotations

import zlib

from gateway.scim.errors import InvalidSyntax, PayloadTooLarge, UnsupportedMediaType

#: What is read, for the header `Accept-Encoding` of a 415 (RFC 7694, 3).
ACCEPTED = "gzip"
#: Window bits of zlib for a gzip header and no other.
_GZIP = 16 + zlib.MAX_WBITS

#: Bytes of the shortest member of a group whose user was made here: `{"value":"…"}` with an id of 36 characters.
MEMBER_BYTES = 47
#: The most members of a body beyond the usual limit: 16 MiB hold as many with id, name and reference.
MEMBERS_IN_BODY = 150_000


def unpack(body: bytes, encoding: str | None, most: int) -> bytes:
    """Return the body as it was before it was packed.

    Not more than `most` bytes are ever unpacked, whatever the packed ones claim. One gzip member is read, as clients
    send it. Raises UnsupportedMediaType for another encoding, PayloadTooLarge and InvalidSyntax.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    if name not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(
            f"The body is packed as {name[:40]!r} by its Content-Encoding; send it as {ACCEPTED}, or not packed."
        )
    unpacking = zlib.decompressobj(_GZIP)
    try:
        plain = unpacking.decompress(body, most + 1)
    except zlib.error:
        raise InvalidSyntax(
            "The body is gzip by its Content-Encoding, but it cannot be unpacked as that."
        ) from None
    if len(plain) > most:
        raise too_large(most, ", unpacked")
    if not unpacking.eof or unpacking.unused_data:
        ends = "goes on behind its end" if unpacking.eof else "is cut off"
        raise InvalidSyntax(f"The body is gzip by its Content-Encoding, but it {ends}.")
    return plain


def too_large(most: int, when: str = "") -> PayloadTooLarge:
    """Make the refusal of a body of more than `most` bytes.

    The limit stands in the sentence, so that a client that sends in bulk can send smaller parts (RFC 7644, 3.7.4).
    """
    return PayloadTooLarge(
        f"The body is larger than the gateway reads: {most} bytes at most{when}. Send less in one request, or ask the"
        " operator of the application to raise the limit."
    )


def refuse_many_parts(body: bytes, usual: int) -> None:
    """Refuse a body with more objects, arrays and values than one that is useful could need.

    Read into memory each of them costs far more than its bytes, and each takes its time in every reader. They are
    counted by their brackets and commas, also within texts, for the body is not read yet. `usual` is the limit of
    bodies in bytes; a longer one is that of a group. Raises PayloadTooLarge.
    """
    most = usual // MEMBER_BYTES if len(body) <= usual else MEMBERS_IN_BODY
    if len(body) <= most:  # A short body cannot hold as many.
        return
    advice = "Send less in one request."
    if len(body) > usual:
        advice = (
            "Send fewer members of the group in one request, and add the others by PATCH in further ones."
        )
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > most:
        raise PayloadTooLarge(
            f"The body has {brackets} brackets that open an object or array, those within texts counted too; the"
            f" gateway reads {most} at most. {advice}"
        )
    commas = body.count(b",")
    if commas > 5 * most:
        raise PayloadTooLarge(
            f"The body has {commas} commas, those within texts counted too; the gateway reads {5 * most} at most."
            f" {advice}"
        )

"""Reads the SAML metadata of an identity provider: its entity id, its sign-on URL, the expiry of its certificate.

The XML is untrusted: no DTD, no entities, nothing is fetched. Signatures are not checked; the admin who pastes the
metadata vouches for it. Source: SAML 2.0 Metadata, sections 2.3 and 2.4.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

from cryptography import x509
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from gateway.scim.errors import InvalidValue
from gateway.scim.json_text import Json
from gateway.store.ids_and_time import microseconds, rfc3339

_MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
#: Characters of a metadata document, at most.
MAX_LENGTH = 262_144


def read_metadata(text: str) -> Json:
    """Return `entity_id`, `sign_on_url` and `certificate_expires_at` (RFC 3339) of a metadata document.

    Raises InvalidValue for XML that is unsafe or not well-formed, or that lacks one of them.
    """
    root = _parse(text)
    entity = root if root.tag == f"{_MD}EntityDescriptor" else root.find(f"{_MD}EntityDescriptor")
    if entity is None or not entity.get("entityID"):
        raise InvalidValue("This is not SAML metadata: it holds no EntityDescriptor with an entityID.")
    idp = entity.find(f"{_MD}IDPSSODescriptor")
    if idp is None:
        raise InvalidValue(
            "The metadata describes no identity provider (IDPSSODescriptor is missing). It may be the"
            " application's own: copy the metadata that the identity provider shows."
        )
    expires = _expiry(idp.iter(f"{_DS}X509Certificate"))
    return {
        "entity_id": entity.get("entityID"),
        "sign_on_url": _sign_on_url(idp),
        "certificate_expires_at": rfc3339(microseconds(expires)),
    }


def _parse(text: str) -> Element:
    if len(text) > MAX_LENGTH:
        raise InvalidValue(f"The metadata is longer than {MAX_LENGTH} characters.")
    try:
        root: Element = fromstring(text.strip().encode(), forbid_dtd=True)
        return root
    except DefusedXmlException:
        raise InvalidValue(
            "The metadata holds a DTD or entities, which is unsafe. Paste it without them."
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise InvalidValue(f"The metadata is not well-formed XML ({error}). Copy it again, whole.") from None


def _sign_on_url(idp: Element) -> str:
    services = {
        service.get("Binding"): service.get("Location", "")
        for service in idp.iter(f"{_MD}SingleSignOnService")
    }
    url = services.get(_REDIRECT) or services.get(_POST) or ""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise InvalidValue("The metadata names no SingleSignOnService with an https URL to sign on at.")
    return url


def _expiry(certificates: Iterable[Element]) -> datetime:
    """Return the latest expiry of the signing certificates."""
    moments = []
    for certificate in certificates:
        try:
            der = base64.b64decode("".join((certificate.text or "").split()), validate=True)
            moments.append(x509.load_der_x509_certificate(der).not_valid_after_utc)
        except (binascii.Error, ValueError, x509.InvalidVersion):
            raise InvalidValue(
                "A certificate in the metadata cannot be read. Copy the metadata again, whole."
            ) from None
    if not moments:
        raise InvalidValue("The metadata holds no signing certificate (X509Certificate).")
    return max(moments)

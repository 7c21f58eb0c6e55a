"""SAML metadata of an identity provider for demonstrations and trials."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_TEMPLATE = """<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity}">
  <IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
    <KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data>
      <X509Certificate>{certificate}</X509Certificate>
    </X509Data></KeyInfo></KeyDescriptor>
    <SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{entity}/sso"/>
  </IDPSSODescriptor>
</EntityDescriptor>"""


def saml_metadata(entity: str) -> str:
    """Return metadata with a new certificate that is valid for a year. Its key is discarded: no sign-on is possible."""
    now = datetime.now(UTC)
    certificate = signing_certificate(now - timedelta(days=1), now + timedelta(days=365))
    return _TEMPLATE.format(entity=entity, certificate=base64.b64encode(certificate).decode())


def signing_certificate(begins: datetime, ends: datetime) -> bytes:
    """Make a certificate for signing, in DER. Its key is discarded."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.acme.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

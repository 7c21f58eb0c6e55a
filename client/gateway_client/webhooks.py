"""Webhooks: whether a message comes from the gateway, by the Standard Webhooks specification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from gateway_client.errors import InvalidSignature
from gateway_client.events import Event, read_message


class Headers(Protocol):
    """Headers of a request, as a dict and those of Flask, Django and Starlette."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return names and values."""


def verify(body: bytes | str, headers: Headers, secrets: str | Sequence[str]) -> Event:
    """Check that a message was signed by one of the secrets, and return its event.

    `body`: as it was received, not parsed and written again. `secrets`: `whsec_…`, more than one while a secret is
    being replaced. A message that is more than five minutes old or early is refused, so the clock must be right.
    Raises InvalidSignature, and UnexpectedAnswer where the signed body is no event; ValueError for a secret that is
    none. The same message may come more than once: `event.key` is the same then.
    """
    verifiers = [_verifier(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not verifiers:
        raise ValueError("No secret is given to verify with.")
    received, reason = dict(headers.items()), ""
    for verifier in verifiers:
        try:
            verifier.verify(body, received, json_parse=False)
        except WebhookVerificationError as error:
            reason = str(error)
        except ValueError:
            reason = "Malformed signature or body"
        else:
            return read_message(body)
    raise InvalidSignature(f"This is no message of the gateway: {reason[:1].lower()}{reason[1:]}.")


def _verifier(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, ValueError):
        sentence = "A webhook secret begins with whsec_ and goes on in Base64; this one does not."
        raise ValueError(sentence) from None

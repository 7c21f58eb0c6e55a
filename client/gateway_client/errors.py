"""What can go wrong, by what the application can do about it. No message contains a token, a secret or a body."""

from __future__ import annotations


class GatewayError(Exception):
    """The common base of all errors of this library."""


class Unavailable(GatewayError):
    """No answer, or one that asks to come again: the network failed, a status of 5xx, 408 or 429.

    `retry_after` is the number of seconds that the gateway asked for, or None. A feed that is iterated waits and goes
    on by itself.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AccessRefused(GatewayError):
    """The token is wrong, expired or revoked, or may not read this (401, 403). It needs a person."""


class UnknownOrganization(GatewayError):
    """The gateway has no such organization, or has it no more (404): the access of its people must end."""


class FeedRewound(GatewayError):
    """The gateway's database was restored from a backup: numbers that were read already belong to other events now.

    Begin anew with a snapshot.
    """


class HistoryGone(GatewayError):
    """The events after this position are no longer kept. Begin anew with a snapshot."""


class SnapshotIncomplete(GatewayError):
    """A snapshot broke off before its last line. Discard what was read and begin it again."""


class UnexpectedAnswer(GatewayError):
    """An answer that is not the gateway's: another server, a redirect, or more bytes than a caller accepts."""


class InvalidSignature(GatewayError):
    """A webhook that was not signed by one of the secrets, was changed, or is more than five minutes old or early."""

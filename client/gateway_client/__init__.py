"""The application's side of the provisioning gateway: its events, a copy of its users and groups, its webhooks."""

from __future__ import annotations

from gateway_client.errors import (
    AccessRefused,
    FeedRewound,
    GatewayError,
    HistoryGone,
    InvalidSignature,
    SnapshotIncomplete,
    Unavailable,
    UnexpectedAnswer,
    UnknownOrganization,
)
from gateway_client.events import Event, SnapshotEntry
from gateway_client.feed import Feed
from gateway_client.mirror import Mirror
from gateway_client.webhooks import verify

__all__ = [
    "AccessRefused",
    "Event",
    "Feed",
    "FeedRewound",
    "GatewayError",
    "HistoryGone",
    "InvalidSignature",
    "Mirror",
    "SnapshotEntry",
    "SnapshotIncomplete",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownOrganization",
    "verify",
]

"""Okta as a SCIM client, which any SCIM server can be tested against: `gateway simulate okta`."""

from gateway_okta.simulator.conversation import SIMULATOR

__all__ = ["SIMULATOR"]

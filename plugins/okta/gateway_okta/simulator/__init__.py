"""Okta as a SCIM client, which any SCIM server can be tested against: `gateway simulate okta`."""

from gateway_okta.simulator.scenario import SIMULATOR

__all__ = ["SIMULATOR"]

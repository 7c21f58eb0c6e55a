"""Entra as a SCIM client, which any SCIM server can be tested against: `gateway simulate entra`."""

from gateway_entra.simulator.scenario import SIMULATOR

__all__ = ["SIMULATOR"]

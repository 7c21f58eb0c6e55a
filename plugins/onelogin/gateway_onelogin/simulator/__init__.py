"""OneLogin as a SCIM client, which any SCIM server can be tested against: `gateway simulate onelogin`."""

from gateway_onelogin.simulator.scenario import SIMULATOR

__all__ = ["SIMULATOR"]

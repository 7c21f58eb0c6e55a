"""JumpCloud as a SCIM client, which any SCIM server can be tested against: `gateway simulate jumpcloud`."""

from gateway_jumpcloud.simulator.scenario import SIMULATOR

__all__ = ["SIMULATOR"]

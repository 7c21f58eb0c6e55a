"""An application whose people are provisioned, and a run of it beside the gateway: `make example`."""

"""The test kit for plugin authors, and for the core's own tests: a whole deployment in a folder that goes away.

With the core installed, pytest offers the fixture `deployment` by itself (see `gateway.testing.plugin`).
"""

from gateway.testing.deployment import Deployment, Scim
from gateway.testing.transcripts import replay

__all__ = ["Deployment", "Scim", "replay"]

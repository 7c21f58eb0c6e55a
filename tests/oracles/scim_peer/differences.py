"""The table of known differences."""

from tests.oracles.scim_peer.filter_differences import FILTER_DIFFERENCES
from tests.oracles.scim_peer.patch_differences import PATCH_DIFFERENCES

DIFFERENCES = FILTER_DIFFERENCES + PATCH_DIFFERENCES

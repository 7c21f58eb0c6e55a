"""The fixture `gateway_fake`, which pytest finds by an entry point. The gateway is imported when it is first used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gateway_client.fake import GatewayFake


@pytest.fixture
def gateway_fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayFake]:
    """Provide the real gateway with an organization whose Okta does what the test says."""
    try:
        from gateway_client.fake import GatewayFake
    except ModuleNotFoundError as error:
        if error.name not in ("gateway", "gateway_okta"):
            raise
        pytest.fail(
            "gateway_fake runs the real gateway, which is not installed here:"
            " pip install 'provisioning-gateway-client[fake]'",
            pytrace=False,
        )
    with GatewayFake(tmp_path_factory.mktemp("gateway")) as fake:
        yield fake

"""The port of a server is its own from the first moment on."""

import sys

import pytest

from gateway.server.supervisor import ServingError, reserve_port


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has names that are taken without a file")
def test_two_servers_that_start_at_once_do_not_share_a_port():
    with (
        reserve_port("127.0.0.1", 0) as (address, port),
        pytest.raises(ServingError, match=f"Port {port} is taken"),
        reserve_port(address, port),
    ):
        pytest.fail("a second server has the same port")
    with reserve_port(address, port) as again:
        assert again == (address, port)

"""Limits of time in tests, which a machine that stands still for seconds breaks without a fault of the code."""


class TooSlow(AssertionError):
    """Something took too long; a test that fails by it alone is run again (`--only-rerun` in setup.cfg)."""


def check_seconds(took: float, at_most: float) -> None:
    """Fail the test when something took longer than it may; both in seconds.

    A stall of the machine does not come thrice in a row, code that is slow does.

    :raises TooSlow: it took longer.
    """
    if took > at_most:
        raise TooSlow(f"it took {took:.2f} s, and {at_most:g} s at most are right")

"""What the test of a connection says of Entra's calls: how near the quarantine is, and the flag where it would help."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Connection, PluginCheck, RecentCalls

#: Seconds from one cycle to the next.
CYCLE_SECONDS = 2400
#: The flag behind the tenant URL with which Entra sends patches as RFC 7644 has them.
FLAG = "aadOptscim062020"
#: Failures, and their share of the calls, from which on the quarantine is near. It begins at 5,000 and 40 %.
MANY, SHARE = 1000, 0.3


def find_checks(connection: Connection, recent: RecentCalls) -> Sequence[PluginCheck]:
    """Return what the calls of the last cycle show."""
    return (*_quarantine(recent), *_flag(recent))


def _quarantine(recent: RecentCalls) -> Sequence[PluginCheck]:
    if recent.refused < MANY or recent.refused < recent.calls * SHARE:
        return ()
    share = round(100 * recent.refused / recent.calls)
    return (
        PluginCheck(
            "quarantine",
            "warn",
            f"{recent.refused:,} of Entra's last {recent.calls:,} calls were refused, {share} %. Beyond 5,000 refused"
            " calls and 40 %, Entra puts the provisioning into quarantine and calls only once a day.",
            "Mend the refusals that most people meet, or take these people out of scope in Entra until then.",
        ),
    )


def _flag(recent: RecentCalls) -> Sequence[PluginCheck]:
    refused = recent.refusals.get(("PATCH", 400), 0)
    if not refused or FLAG in recent.flags:
        return ()
    return (
        PluginCheck(
            "flag",
            "note",
            f"{refused:,} changes of Entra were refused as not readable in the last 24 hours, and Entra sends them in"
            f" its own way: the flag {FLAG} is missing behind the Tenant URL.",
            f"Put ?{FLAG} behind the Tenant URL in Entra, save, and restart the provisioning.",
        ),
    )

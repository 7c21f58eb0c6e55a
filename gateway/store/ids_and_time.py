"""Times and identifiers as stored: whole microseconds since 1970 (UTC), and UUIDs that sort by age."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from functools import lru_cache

#: In microseconds.
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


def now() -> int:
    """Return the microseconds since 1970."""
    return time.time_ns() // 1000


def in_days(days: int | None) -> int | None:
    """Return the time `days` from now in microseconds; None for None."""
    return None if days is None else now() + days * DAY


def rfc3339(microseconds: int) -> str:
    """Format microseconds as RFC 3339, in UTC, to the millisecond: `2026-11-24T08:00:00.123Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return _to_the_second(seconds) + _MILLISECONDS[rest // 1000]


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def in_words(microseconds: int) -> str:
    """Format microseconds for a sentence that people read, in UTC, to the minute: `28 Nov 2026, 18:20 UTC`."""
    when = time.gmtime(microseconds // 1_000_000)
    return f"{when.tm_mday} {_MONTHS[when.tm_mon - 1]} {time.strftime('%Y, %H:%M', when)} UTC"


def microseconds(moment: datetime) -> int:
    """Convert a datetime to microseconds; one without a zone is read as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


def new_id() -> str:
    """Generate a UUID version 7 (RFC 9562, 5.7): it begins with the time, so that new rows are adjacent in an index.

    Unique, not secret: access is decided by the tenant, never by knowing an id.
    """
    value = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    value = value & ~(0xF << 76) | (7 << 76)
    value = value & ~(3 << 62) | (2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

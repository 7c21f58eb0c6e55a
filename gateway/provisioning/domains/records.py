"""The look-up of a domain's record in the DNS: a TXT record whose value the organization was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.provisioning.domains.names import CHALLENGE
from gateway.scim.json_text import excerpt
from gateway.store.records import DomainRecord

#: Seconds that a whole look-up takes at most, all servers and tries together.
SECONDS = 5.0
_PREFIX = "gateway-domain="
#: Other values that a sentence quotes.
_QUOTED = 3
_WAIT = "A new record can take an hour to be seen everywhere."


class Answer(NamedTuple):
    """What a look-up found: the record, or a sentence that says what is there instead.

    `conclusive`: the DNS said so. A server that does not answer says nothing about the record.
    """

    found: bool
    conclusive: bool
    problem: str | None


def host_of(domain: DomainRecord) -> str:
    """Return the name in the DNS at which the record of a domain stands."""
    return f"{CHALLENGE}.{domain.name}"


def value_of(domain: DomainRecord) -> str:
    """Return the value that the record has."""
    return f"{_PREFIX}{domain.token}"


class TxtRecords:
    """Asks the DNS for TXT records, as the machine is configured, or certain servers."""

    def __init__(self, servers: Sequence[str] = (), port: int = 53, seconds: float = SECONDS) -> None:
        self._servers, self._port, self._seconds = list(servers), port, seconds

    def look_up(self, domain: DomainRecord) -> Answer:
        """Ask for the record of a domain. Raises nothing: what went wrong is a sentence of the answer."""
        import dns.exception  # late: most processes never look anything up
        import dns.resolver

        host, value = host_of(domain), value_of(domain)
        add = f"Add a TXT record at {host} with the value {value}, and check again. {_WAIT}"
        try:
            values = self._values(host)
        except dns.resolver.NXDOMAIN:
            return Answer(False, True, f"There is nothing at {host} in the DNS. {add}")
        except dns.resolver.NoAnswer:
            return Answer(False, True, f"There is no TXT record at {host} in the DNS. {add}")
        except dns.resolver.NoNameservers:
            return Answer(
                False, False,
                f"The DNS answers questions for {host} with an error, as SERVFAIL. Ask whoever runs the name servers of"
                f" {domain.name} to mend them, and check again.",
            )  # fmt: skip
        except dns.exception.Timeout:
            return Answer(
                False, False,
                f"The DNS has not answered the question for {host} within {self._seconds:g} seconds. Check again in a"
                f" few minutes; if it stays so, ask whoever runs the name servers of {domain.name}.",
            )  # fmt: skip
        except (dns.exception.DNSException, OSError) as error:
            return Answer(
                False, False,
                f"The gateway cannot ask the DNS for {host} ({type(error).__name__}). Check again later; if it stays"
                " so, an operator has to look at the resolver of the gateway's machine.",
            )  # fmt: skip
        if value in values:
            return Answer(True, True, None)
        others = ", ".join(excerpt(text) for text in values[:_QUOTED])
        if len(values) > _QUOTED:
            others += f" and {len(values) - _QUOTED} more"
        return Answer(
            False, True,
            f"The TXT record at {host} says {others} and not {value}. Correct its value, or add another TXT record"
            f" there, and check again. {_WAIT}",
        )  # fmt: skip

    def _values(self, host: str) -> list[str]:
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers, resolver.port = list(self._servers), self._port
        answer = resolver.resolve(host, "TXT", lifetime=self._seconds, search=False)
        # RFC 1035, 3.3.14: one value may come as several strings of at most 255 bytes.
        texts = (b"".join(record.strings).decode("utf-8", "replace") for record in answer)
        # The forms of some providers keep the quotes that somebody types around a value.
        return sorted(text.strip().strip('"') for text in texts)

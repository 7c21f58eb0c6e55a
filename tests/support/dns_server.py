"""A name server on a local UDP port that answers questions for TXT records as a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

#: In place of records: no answer at all, an error, and a name that has records of other types alone.
SILENCE, SERVFAIL, NOTHING = "silence", "servfail", "nothing"


class NameServer:
    """Records by name: each a text as in a zone file (`"one" "two"`), or one of the words above; `cname` redirects."""

    def __init__(self) -> None:
        self.records: dict[str, list[str] | str] = {}
        self.cname: dict[str, str] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer is not None:
                self._socket.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        asked = query.question[0].name.to_text().rstrip(".")
        self.asked.append(asked)
        answer = dns.message.make_response(query, recursion_available=True)
        name = self.cname.get(asked, asked)
        found = self.records.get(name)
        if found == SILENCE:
            return None
        if found == SERVFAIL:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            if name != asked:
                answer.answer.append(dns.rrset.from_text(f"{asked}.", 60, "IN", "CNAME", f"{name}."))
            if found != NOTHING:
                answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *found))
        return answer


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Run a name server."""
    server = NameServer()
    try:
        yield server
    finally:
        server.close()

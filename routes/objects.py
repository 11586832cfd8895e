"""Next-hop objects of ours: one way out that the kernel keeps once, for all the routes that lead there (ip-nexthop(8)).

A route that refers to one costs the kernel less than half of what a route with its own gateway and device costs it. The kernel
removes an object, and all routes by it, with the link that it is on, and others may change one: ``stale`` then makes the
next use read them again. Layouts: ``linux/nexthop.h``.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection

from towpath.model.net import family_of
from towpath.routes.message import AF, NLM_F_CREATE, NLM_F_EXCL, NUMBER, RTNH_F_ONLINK, attribute, attributes
from towpath.routes.netsocket import dump, messages, request
from towpath.routes.route import PROTOCOL, NextHop, address

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
_NEXT_HOP = struct.Struct("=BBBxI")
_ANY = _NEXT_HOP.pack(0, 0, 0, 0)
_NHA_ID, _NHA_OIF, _NHA_GATEWAY = 1, 5, 6
_FIRST = PROTOCOL << 20
"""Our numbers begin here: far from those that the kernel gives out, and those of routing daemons."""
_NUMBERS = 1 << 20
_ATTEMPTS = 64


class NextHopObjects:
    """Objects by what they are, as far as they are ours. ``numbers``: the first of so many fresh sequence numbers."""

    def __init__(self, asking: socket.socket, *, numbers: Callable[[int], int]) -> None:
        self._asking = asking
        self._sequence = numbers
        self._numbers: dict[NextHop, int] = {}
        self._next = _FIRST
        self.stale = True
        self.supported = self._request(RTM_GETNEXTHOP, _named(_FIRST)) != errno.EOPNOTSUPP
        """False on a kernel that has none (before 5.3)."""
        self.read()

    def read(self) -> None:
        """Read them again, where others or the kernel may have changed them."""
        if not self.stale or not self.supported:
            return
        self._numbers.clear()
        for data in dump(self._asking, RTM_GETNEXTHOP, _ANY, number=self._sequence(1)):
            for start, length, kind, _ in messages(data):
                if kind == RTM_NEWNEXTHOP:
                    self._seen(data, start, start + length)
        self.stale = False

    def _request(self, kind: int, body: bytes, *, flags: int = 0) -> int:
        return request(self._asking, kind, body, flags=flags, number=self._sequence(1))

    def _seen(self, data: bytes, start: int, end: int) -> None:
        _, _, protocol, flags = _NEXT_HOP.unpack_from(data, start + 16)
        values = dict(attributes(data, start + 24, end))
        number = int.from_bytes(values.get(_NHA_ID, b""), "little")
        if _FIRST <= number < _FIRST + _NUMBERS:
            self._next = max(self._next, number + 1)
        if protocol == PROTOCOL and _NHA_OIF in values and _NHA_GATEWAY in values:
            device = int.from_bytes(values[_NHA_OIF], "little")
            hop = NextHop(address(values[_NHA_GATEWAY]), device, bool(flags & RTNH_F_ONLINK))
            self._numbers.setdefault(hop, number)

    def known(self, hop: NextHop) -> int | None:
        """The number of a next hop's object; None where there is none."""
        self.read()
        return self._numbers.get(hop)

    def find(self, number: int) -> NextHop | None:
        """The next hop with this number."""
        self.read()
        return next((hop for hop, found in self._numbers.items() if found == number), None)

    def make(self, hop: NextHop) -> int:
        """The number of a next hop's object, which is made if there is none; ``OSError`` where the kernel refuses."""
        found = self.known(hop)
        if found is not None:
            return found
        if hop.gateway is None:
            raise OSError(errno.EINVAL, "a next hop without a gateway is never shared")
        head = _NEXT_HOP.pack(AF[family_of(hop.gateway)], 0, PROTOCOL, RTNH_F_ONLINK if hop.onlink else 0)
        for _ in range(_ATTEMPTS):
            number = self._next
            self._next = number + 1 if number + 1 < _FIRST + _NUMBERS else _FIRST
            body = (
                head
                + attribute(_NHA_ID, NUMBER.pack(number))
                + attribute(_NHA_OIF, NUMBER.pack(hop.device))
                + attribute(_NHA_GATEWAY, hop.gateway.packed)
            )
            error = self._request(RTM_NEWNEXTHOP, body, flags=NLM_F_CREATE | NLM_F_EXCL)
            if not error:
                self._numbers[hop] = number
                return number
            if error != errno.EEXIST:
                raise OSError(error, f"no object for {hop.gateway}")
        raise OSError(errno.EEXIST, "the numbers of next-hop objects are taken")

    def keep(self, hops: Collection[NextHop]) -> None:
        """Remove the others. The kernel removes the routes by them, so nobody may use them."""
        if not self.supported:
            return
        self.read()
        for hop, number in list(self._numbers.items()):
            if hop not in hops:
                self._request(RTM_DELNEXTHOP, _named(number))
                del self._numbers[hop]


def _named(number: int) -> bytes:
    """The body of a request about one object."""
    return _ANY + attribute(_NHA_ID, NUMBER.pack(number))

"""Who has which address on this node, as far as its kernel can tell: host routes of pods, and who answers.

Not every way to attach a pod leaves a route, and what is known of a neighbour stays long after it is gone. So those of which
it matters are sent a datagram to a port that nobody listens on (discard, RFC 863): whoever is there says that there is no
such port, or at least what its MAC is.
"""

import contextlib
import errno
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing

from towpath.model.net import Address, Family, family_of
from towpath.routes.devices.message import NDA_DST, NDM, RTM_GETNEIGH, RTM_NEWNEIGH
from towpath.routes.links import addresses
from towpath.routes.message import AF, ROUTE, RTA_DST, RTA_OIF, RTM_GETROUTE, RTM_NEWROUTE, attributes
from towpath.routes.netsocket import dump, messages, open_socket
from towpath.routes.route import MAIN_TABLE, address

ANSWER_WITHIN = 10.0
"""Seconds that somebody who is asked has: the kernel believes what it knew of a neighbour for five, and asks three times."""
_DISCARD = 9
_UNICAST = 1
_REACHABLE, _KNOWN = 0x02, 0x02 | 0x04 | 0x08 | 0x10
"""States of a neighbour (``linux/neighbour.h``): it has answered just now; or at any time: stale, delay and probe as well."""
_OTHERS = (2, 3, 4)
"""Protocols of routes that plugins and people make: kernel, boot, static. Ours lead to other nodes."""


def neighbours() -> frozenset[Address]:
    """Whoever has said its MAC at any time; some may be gone by now. ``OSError``: the kernel cannot be read."""
    with closing(open_socket()[0]) as asking:
        return frozenset(_neighbours(asking, _KNOWN))


def holders(asked: Collection[Address], *, wait: Callable[[], object]) -> frozenset[Address]:
    """All addresses that a host route leads to, and who has answered of late, those ``asked`` by the end of ``wait`` included; none of the node's own.

    Without anybody to ask nobody waits. ``OSError``: the kernel cannot be read.
    """
    with ExitStack() as stack:
        questions = {one: stack.enter_context(closing(_question(one))) for one in asked}
        if questions:
            wait()
        refused = {one for one, question in questions.items() if _is_refused(question)}
        with closing(open_socket()[0]) as asking:
            # in IPv6 the gateway on a pod's cable has a route of its own
            own = {one.ip for _, one in addresses(asking)}
            return frozenset({*_routed(asking), *_neighbours(asking, _REACHABLE), *refused}) - own


def _question(one: Address) -> socket.socket:
    """A datagram on its way, or none where no route leads there."""
    opened = socket.socket(AF[family_of(one)], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    with contextlib.suppress(OSError):
        opened.connect((str(one), _DISCARD))
        opened.send(b"")
    return opened


def _is_refused(question: socket.socket) -> bool:
    """Whether whoever is there has no such port."""
    return question.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def _routed(asking: socket.socket) -> Iterator[Address]:
    """What a route to a single address leads to."""
    for family in Family:
        for protocol in _OTHERS:
            head = ROUTE.pack(AF[family], 0, 0, 0, MAIN_TABLE, protocol, 0, 0, 0)
            for data in dump(asking, RTM_GETROUTE, head):
                for start, length, kind, _ in messages(data):
                    if kind != RTM_NEWROUTE:
                        continue
                    _, bits, _, _, table, _, _, type_, _ = ROUTE.unpack_from(data, start + 16)
                    values = dict(attributes(data, start + 16 + ROUTE.size, start + length))
                    one = bits == family.bits and table == MAIN_TABLE and type_ == _UNICAST and RTA_OIF in values
                    if one and RTA_DST in values:
                        yield address(values[RTA_DST])


def _neighbours(asking: socket.socket, states: int) -> Iterator[Address]:
    """Neighbours in any of these states."""
    for family in Family:
        for data in dump(asking, RTM_GETNEIGH, NDM.pack(AF[family], 0, 0, 0, 0)):
            for start, length, kind, _ in messages(data):
                if kind != RTM_NEWNEIGH:
                    continue
                state = NDM.unpack_from(data, start + 16)[2]
                values = dict(attributes(data, start + 16 + NDM.size, start + length))
                if state & states and NDA_DST in values:
                    yield address(values[NDA_DST])

"""Who touches our nftables table is heard from the kernel, so that ``nft`` need not be asked every few seconds.

The kernel tells a whole transaction at once: what was made and removed, each with the name of its table, and at the end the
new generation of the rule set (linux/netfilter/nf_tables.h, NFT_MSG_NEWGEN). Listening needs CAP_NET_ADMIN.
"""

import errno
import socket
import weakref

from towpath.routes.netsocket import BUFFER, NETLINK_ADD_MEMBERSHIP, RECEIVE, SO_RCVBUFFORCE, SOL_NETLINK, messages

_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 7
"""NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h)."""
_NEW_GENERATION = 10 << 8 | 15


class Watch:
    """The events of this thread's network namespace, from now on."""

    def __init__(self, table: str) -> None:
        """``OSError``: the kernel has no nf_tables, or does not let us hear."""
        name = table.encode() + b"\0"
        # the table's name is the first attribute of all that lies in one, and its own; that of a table of another family
        # may be the same, which costs a look
        self._mark = (4 + len(name)).to_bytes(2, "little") + b"\1\0" + name
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        weakref.finalize(self, self._socket.close)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, _GROUP_NFTABLES)
        self._within = False
        """The transaction that is being told has touched our table."""

    def touched(self) -> int:
        """How many transactions have touched the table since the last call; 1 where more came than the buffer holds: nobody knows."""
        count, lost = 0, False
        while True:
            try:
                data = self._socket.recv(RECEIVE)
            except BlockingIOError:
                return 1 if lost else count
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            count += self._told(data)

    def _told(self, data: bytes) -> int:
        count = 0
        for start, length, kind, _ in messages(data):
            if kind == _NEW_GENERATION:
                count, self._within = count + self._within, False
            elif data.find(self._mark, start, start + length) >= 0:
                self._within = True
        return count

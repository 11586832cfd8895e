"""Runs a module as on a kernel without a kind of device: ``lacking.py KIND MODULE ARGUMENT…``.

All that this process tells the kernel names another kind in its place, which no kernel has: the refusal is the kernel's own.
"""

import runpy
import socket
import sys
from typing import Any


class Lacking(socket.socket):
    """A socket of whoever asks."""

    kind = b""

    def send(self, data: Any, flags: int = 0, /) -> int:
        if self.family is socket.AF_NETLINK:
            data = bytes(data).replace(self.kind + b"\0", b"x" * len(self.kind) + b"\0")
        return super().send(data, flags)


if __name__ == "__main__":
    Lacking.kind = sys.argv[1].encode()
    socket.socket = Lacking  # type: ignore[misc]  # that is what this is for
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

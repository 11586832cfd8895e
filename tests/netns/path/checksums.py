"""Whether a device leaves the checksums of what it sends to the device below, as ``ethtool -K DEVICE tx`` sets it (linux/ethtool.h)."""

import ctypes
import fcntl
import socket
import struct

from towpath.lab.netns import Host

_SIOCETHTOOL = 0x8946
_GET, _SET = 0x16, 0x17
_VALUE = struct.Struct("=II")


def left_below(host: Host, device: str) -> bool:
    """Whether it does."""
    return bool(_asked(host, device, _GET, 0))


def leave_below(host: Host, device: str) -> None:
    """Let it do so from now on."""
    _asked(host, device, _SET, 1)


def _asked(host: Host, device: str, command: int, value: int) -> int:
    said = ctypes.create_string_buffer(_VALUE.pack(command, value))
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tool:
        fcntl.ioctl(tool, _SIOCETHTOOL, struct.pack("@16sP16x", device.encode(), ctypes.addressof(said)))
    return int(_VALUE.unpack_from(said.raw)[1])

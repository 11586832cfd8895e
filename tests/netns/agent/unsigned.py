"""Runs a program as on a kernel without CONFIG_TCP_MD5SIG: ``unsigned.py PROGRAM ARGUMENT…``.

The kernel's own filter of system calls (seccomp(2)) answers setsockopt(2) for TCP-MD5 keys with what such a kernel says,
ENOPROTOOPT, for the program and all that it starts; everything else is as it is.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

_ARCHITECTURES = {"x86_64": (0xC000003E, 54), "aarch64": (0xC00000B7, 208)}
"""AUDIT_ARCH_* and the number of setsockopt(2)."""
_MD5SIG, _MD5SIG_EXT = 14, 32
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _LEVEL, _NAME = 0, 4, 24, 32
"""Where they are in struct seccomp_data: of the arguments the lower halves (little-endian)."""
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


def _program() -> bytes:
    architecture, setsockopt = _ARCHITECTURES[platform.machine()]
    lines = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 5, setsockopt),
        (_LOAD, 0, 0, _LEVEL),
        (_EQUAL, 0, 3, socket.IPPROTO_TCP),
        (_LOAD, 0, 0, _NAME),
        (_EQUAL, 2, 0, _MD5SIG),
        (_EQUAL, 1, 0, _MD5SIG_EXT),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.ENOPROTOOPT),
    )
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def main() -> None:
    """Never returns."""
    program = ctypes.create_string_buffer(_program())
    filtered = struct.pack("@HP", (len(program) - 1) // 8, ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _MODE_FILTER, filtered, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()

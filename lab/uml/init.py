"""The first process of a user-mode Linux: makes the machine usable, runs one program, leaves its exit code, powers off.

Run by the kernel as ``init.py FOLDER``, where ``job.json`` says what is to be run, with the standard library alone.
"""

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import sys
import termios
import traceback
from pathlib import Path

_POWER_OFF = 0x4321FEDC
"""reboot(2)"""
_FRESH = (
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
)
"""What is this machine's own; all else is the host's files."""
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
"""netdevice(7)"""
_RNDADDENTROPY = 0x40085203
"""random(4)"""
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Never returns: the kernel would panic."""
    folder = Path(sys.argv[1])
    try:
        job = json.loads((folder / "job.json").read_text())
        prepare(bytes.fromhex(job["seed"]))
        code = run(job["command"], folder=job["folder"], environment=job["environment"])
        (folder / "exit").write_text(str(code))
    except BaseException:  # noqa: BLE001  # whatever it is, the machine ends
        traceback.print_exc()
    os.sync()
    _libc.reboot(_POWER_OFF)


def prepare(seed: bytes) -> None:
    """Mount what is the machine's own, and have what a booted machine has: ``lo`` up, and randomness.

    Left to itself the kernel gathers some from the jitter of its clock, which may take it a quarter of a minute.
    """
    for kind, where, options in _FRESH:
        Path(where).mkdir(exist_ok=True)
        failed = _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, options.encode())
        if failed and ctypes.get_errno() != errno.EBUSY:  # some kernels mount /dev themselves
            raise OSError(ctypes.get_errno(), f"mount {where}")
    for name in ("tmp", "netns"):
        Path("/run", name).mkdir()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        Path("/dev", name).symlink_to(f"/proc/self/fd/{number}")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("=16sH14x", b"lo", _IFF_UP))
    with Path("/dev/random").open("wb") as random:
        fcntl.ioctl(random, _RNDADDENTROPY, struct.pack("=ii", 8 * len(seed), len(seed)) + seed)


def run(command: list[str], *, folder: str, environment: dict[str, str]) -> int:
    """The exit code of a program, as a shell has it; the orphans of others are waited for as well."""
    console = os.open("/dev/tty1", os.O_RDWR | os.O_NOCTTY)
    modes = termios.tcgetattr(console)
    modes[1] &= ~termios.OPOST  # lines end as they were written
    termios.tcsetattr(console, termios.TCSANOW, modes)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            for number in (1, 2):
                os.dup2(console, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        finally:
            traceback.print_exc()
            os._exit(127)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()

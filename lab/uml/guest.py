"""Hosts in another kernel than this machine's: a machine that is booted beside a network, whose cables end in it.

Its kernel has as many network cards as it is booted with. The other end of each cable is in a namespace of the network,
``PREFIX-guest``, until a host inside is plugged into a switch outside: then the card is that host's. The first card is
the door, by which programs run inside. As a module it is the process that boots the machine, in that namespace, where
everything of the machine lives: with the network it is gone.
"""

import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from towpath.lab import tools
from towpath.lab.netns import Host, Network, kill_all
from towpath.lab.process import run, wait_for
from towpath.lab.uml.machine import boot

_DOOR = Path(__file__).with_name("door.py")
_OUTSIDE, _INSIDE, _PORT = "169.254.77.1", "169.254.77.2", 4077
_LONG = 4 * 3600
_BOOTED = 60


class Guest:
    """A machine beside a network, with a number of cards; as a context manager it is gone afterwards.

    ``shared`` is a folder of this machine that it has as well, under the same path.
    """

    def __init__(self, network: Network, *, cards: int, shared: Path) -> None:
        self.network = network
        self.shared = shared
        self.outside = network.host("guest", forwarding=False)
        self.via = (*self.outside.enter, sys.executable, "-I", "-S", str(_DOOR), "run", _INSIDE, str(_PORT))
        self._free = [f"card{number}" for number in range(1, cards + 1)]

    def __enter__(self) -> Self:
        # here it passes on what cards send and get, and says nothing itself
        self.outside.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        for card in ("card0", *self._free):
            self.network.link(self.outside, card, self.outside, _plug(card))
        self.outside.address(f"{_OUTSIDE}/30", dev=_plug("card0"))
        booter = self.outside.process(
            *(sys.executable, "-m", "towpath.lab.uml.guest", "card0", *self._free), log=self.shared / "guest.log"
        )
        wait_for(lambda: "open\n" in booter.log or not booter.running, deadline=_BOOTED, what="the machine is up")
        if not booter.running:
            raise RuntimeError(f"the machine did not come up: {booter.log}")
        self.process = booter
        run(*self.via, "mkdir", "-p", str(self.shared))
        run(*self.via, "mount", "-t", "hostfs", "-o", str(self.shared), "none", str(self.shared))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        kill_all(self.outside.netns)  # what stands here for programs inside would wait for their last words

    def cable(self, host: Host, device: str, other: Host, other_device: str) -> None:
        """Between a host inside and one outside."""
        card = self._free.pop(0)
        self.outside.ip("link", "set", "dev", _plug(card), "down", "netns", other.netns, "name", other_device)
        own = card.replace("card", "vec")
        run(*self.via, "ip", "link", "set", "dev", own, "netns", host.netns, "name", device)


def _plug(card: str) -> str:
    return card.replace("card", "plug")


def main(*cards: str) -> int:
    """Boot the machine, open its door, and wait until it ends or this is told to."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))

    def show(printed: bytes) -> None:
        sys.stdout.buffer.write(printed)
        sys.stdout.flush()

    serving = (sys.executable, "-I", "-S", str(_DOOR), "serve", "vec0", _INSIDE, str(_PORT))
    return boot(tools.user_mode_linux(), *serving, folder=Path("/"), show=show, deadline=_LONG, cards=cards)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

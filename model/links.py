"""A network interface of a node, as its kernel has it: what says whether pods can be on its network."""

from msgspec import Struct

from towpath.model.net import Interface


class NodeLink(Struct, frozen=True):
    """An interface; ``mtu`` None: not known."""

    mtu: int | None = None
    enslaved: bool = False
    """It is a port of a bridge, or the like."""
    addresses: tuple[Interface, ...] = ()
    leased: tuple[Interface, ...] = ()
    """Those of the addresses that somebody lent for a time, a DHCP server or a router that advertises."""
    above: tuple[tuple[str, str, str], ...] = ()
    """Kind, mode and name of others' devices that share it in the way pods would; those of pods are not to be seen from here."""

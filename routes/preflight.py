"""What is wrong with a machine before any packet is lost: facts in, refusals out.

Each is about something that towpath does not change because it is somebody else's: the message says whose, and what to set.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from towpath.model.net import Address, Family
from towpath.model.reason import Reason, Refusal, Why


class DroppingChain(Struct, frozen=True, order=True):
    """A packet filter's base chain that drops forwarded packets unless a rule takes them."""

    where: str
    families: tuple[Family, ...]


class Machine(Struct, frozen=True):
    """What is to be seen of a machine; what could not be looked at is as if all were well."""

    dropping: tuple[DroppingChain, ...] = ()
    networkd: tuple[str, ...] = ()
    """Settings of a systemd-networkd that runs by which it removes routes or rules that are not its own."""
    networkd_devices: tuple[str, ...] = ()
    """Devices of pods, or ours, that systemd-networkd configures."""
    managed_devices: tuple[str, ...] = ()
    """Devices of pods, or ours, that NetworkManager manages."""
    lacking_kinds: tuple[str, ...] = ()
    """Kinds of devices that the kernel does not know."""
    has_md5: bool = True
    """The kernel can sign TCP segments (RFC 2385)."""
    families: frozenset[Family] = frozenset(Family)
    """Those that the kernel has switched on."""
    forwards: frozenset[Family] = frozenset(Family)
    """Those in which the kernel forwards packets."""
    bypassed: frozenset[Family] = frozenset()
    """Those in which no packet filter sees, and nobody translates back, what a bridge hands from port to port."""
    mtus: Mapping[str, int] = {}
    """MTU of each device, by name."""


class Wanted(Struct, frozen=True):
    """What this node is to do."""

    node: str
    families: frozenset[Family] = frozenset()
    """Those in which it has pods."""
    bridged: bool = False
    """New pods are plugged into a bridge."""
    passwords: bool = False
    """Some session has a password."""
    device_mtus: Mapping[str, int] = {}
    """The devices that carry this node's addresses, or lead to other nodes and to peers, and their MTU."""
    neighbours: Mapping[str, int] = {}
    """Nodes that share a link with this one, and the MTU that their pods have."""
    overhead: int = 0
    """Bytes that packets of pods grow by in tunnels."""
    narrow: Mapping[str, int] = {}
    """Nodes at the other end of a tunnel over IPv6 to which the way takes less than this node's devices do, and how much."""


def problems(machine: Machine, wanted: Wanted) -> tuple[Refusal, ...]:
    """What people have to see to, one sentence each."""
    why = Why("Node", wanted.node)
    found = (
        *_filters(machine, wanted),
        *_bridge(machine, wanted),
        *_managers(machine),
        *_kernel(machine, wanted),
        *_mtus(wanted),
        *_ways(wanted),
    )
    return tuple(Refusal(reason, message, why) for reason, message in found)


def pod_mtu(device_mtus: Mapping[str, int], *, overhead: int = 0) -> int | None:
    """The MTU for pods: the smallest of the devices that reach the peers, less what tunnels need; None where none is known."""
    smallest = min(device_mtus.values(), default=None)
    return None if smallest is None else smallest - overhead


def devices_with(
    addresses: Iterable[Address], *, on: Mapping[Address, str], beside: Iterable[str], mtus: Mapping[str, int]
) -> dict[str, int]:
    """The devices that carry these addresses, those ``beside``, and their MTU; one on loopback says nothing of the way."""
    names = {on[address] for address in addresses if address in on} | set(beside)
    return {name: mtus[name] for name in sorted(names) if name in mtus and name != "lo"}


def _filters(machine: Machine, wanted: Wanted) -> Iterable[tuple[Reason, str]]:
    for chain in machine.dropping:
        hit = [family for family in chain.families if family in wanted.families]
        if hit:
            yield (
                Reason.FORWARD_DROPPED,
                (
                    f"{chain.where} drops forwarded {_listed(hit)} packets by its policy:"
                    " accept those from and to the pools there, or set the policy to accept"
                ),
            )
    for family in sorted(wanted.families & machine.families - machine.forwards):
        name = "net.ipv4.ip_forward" if family is Family.IPV4 else "net.ipv6.conf.all.forwarding"
        yield (
            Reason.FORWARD_DROPPED,
            (
                f"sysctl {name} is 0 and cannot be set, so that {family.key} packets are not forwarded:"
                " set it to 1 on the node, or mount its /proc/sys/net for the agent so that it can be written"
            ),
        )


def _bridge(machine: Machine, wanted: Wanted) -> Iterable[tuple[Reason, str]]:
    for family in sorted(wanted.families & machine.bypassed if wanted.bridged else ()):
        name = f"net.bridge.bridge-nf-call-{'iptables' if family is Family.IPV4 else 'ip6tables'}"
        yield (
            Reason.BRIDGE_BYPASS,
            (
                f"sysctl {name} is not 1: a Service that leads a pod to another one on the same bridge does not answer,"
                " since the bridge hands the answer on as it is: load br_netfilter and set it to 1"
            ),
        )


def _managers(machine: Machine) -> Iterable[tuple[Reason, str]]:
    for setting in machine.networkd:
        yield (
            Reason.ROUTES_MANAGED,
            (
                f"systemd-networkd runs with {setting}=yes and removes what is not its own whenever it restarts:"
                f" set {setting}=no under [Network] in /etc/systemd/networkd.conf.d, then restart it"
            ),
        )
    if machine.networkd_devices:
        yield (
            Reason.ROUTES_MANAGED,
            (
                f"systemd-networkd manages {_listed(machine.networkd_devices)} and removes addresses and neighbours that are"
                " not its own: give /etc/systemd/network/00-towpath.network Name=veth* tp-* under [Match] and Unmanaged=yes"
                " under [Link], then networkctl reload"
            ),
        )
    if machine.managed_devices:
        yield (
            Reason.ROUTES_MANAGED,
            (
                f"NetworkManager manages {_listed(machine.managed_devices)} and takes their addresses and routes when its networking"
                " is switched off: give a file in /etc/NetworkManager/conf.d"
                " unmanaged-devices+=interface-name:veth*;interface-name:tp-* under [keyfile], then nmcli general reload"
            ),
        )


def _kernel(machine: Machine, wanted: Wanted) -> Iterable[tuple[Reason, str]]:
    for kind in machine.lacking_kinds:
        yield Reason.KERNEL_LACKS, f"the kernel knows no devices of kind {kind}: load the module {kind}"
    if wanted.passwords and not machine.has_md5:
        yield (
            Reason.KERNEL_LACKS,
            (
                "the kernel cannot sign TCP, so that sessions with a password stay down:"
                " run one with CONFIG_TCP_MD5SIG, or have no password on sessions of this node"
            ),
        )
    for family in sorted(wanted.families - machine.families):
        yield (
            Reason.KERNEL_LACKS,
            (
                f"{family.key} is switched off on this node, and a pool gives it {family.key} addresses: switch it on"
                " (sysctl net.ipv6.conf.all.disable_ipv6), or have the pool's nodeSelector leave the node out"
            ),
        )


def _mtus(wanted: Wanted) -> Iterable[tuple[Reason, str]]:
    own = pod_mtu(wanted.device_mtus, overhead=wanted.overhead)
    if own is None:
        return
    if len(set(wanted.device_mtus.values())) > 1:
        devices = ", ".join(f"{name} {mtu}" for name, mtu in sorted(wanted.device_mtus.items()))
        yield (
            Reason.MTU_MISMATCH,
            f"the devices that lead to other nodes and to peers differ ({devices}): pods have the smallest; give all the same",
        )
    others = [f"{name} {mtu}" for name, mtu in sorted(wanted.neighbours.items()) if mtu != own]
    if others:
        yield (
            Reason.MTU_MISMATCH,
            (
                f"pods of this node have MTU {own}, and on the same link others have another, so that large packets"
                f" are lost without a word; give all devices on that link the same: {_listed(others)}"
            ),
        )
    if Family.IPV6 in wanted.families and own < 1280:
        yield (
            Reason.MTU_MISMATCH,
            f"MTU {own} is below the 1280 that IPv6 needs (RFC 8200 section 5): raise that of the node's devices",
        )


def _ways(wanted: Wanted) -> Iterable[tuple[Reason, str]]:
    if not wanted.narrow:
        return
    smallest = min(wanted.narrow.values())
    yield (
        Reason.MTU_MISMATCH,
        (
            f"routers on the way say that it takes less than tunnels send"
            f" ({_listed(f'to {name} {mtu}' for name, mtu in sorted(wanted.narrow.items()))}), and of IPv6 nobody cuts packets up:"
            f" large packets of pods are lost there; give the devices of all nodes the MTU {smallest},"
            f" or the pools an attachment.mtu of {smallest - wanted.overhead} for new pods"
        ),
    )


def _listed(names: Iterable[object], most: int = 8) -> str:
    known = [str(getattr(name, "key", name)) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more

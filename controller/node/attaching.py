"""What new pods hang on: the MTU that they get, and what the kernel refuses, told apart from what disks refuse."""

import contextlib
import functools
from collections.abc import Collection, Iterator

from towpath.controller.node import parts
from towpath.controller.node.ground import Grounds
from towpath.controller.node.records import Records
from towpath.ipam.attachment import Attached
from towpath.model.net import Prefix
from towpath.model.reason import Reason, Refusal, Why


class DeviceError(OSError):
    """The kernel refused something about what pods hang on."""


@contextlib.contextmanager
def _on(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeviceError(f"pods cannot be attached to {what}: {error.strerror or error}") from error


on_bridge = functools.partial(_on, "a bridge")
on_underlay = functools.partial(_on, "the node's network")


def mtu_of(way: Attached, *, machine: int | None, grounds: Grounds) -> tuple[int | None, tuple[Refusal, ...]]:
    """The MTU of new pods: what their pool says, unless the node's devices take less. ``machine``: what these take."""
    if way.attachment.by_master:
        return grounds.mtu_of(way.attachment), ()
    asked = way.attachment.mtu
    if asked is None or machine is None or asked <= machine:
        return asked or machine, ()
    message = f"{asked} is more than the {machine} that the devices of the node take: new pods get {machine} there"
    return machine, (Refusal(Reason.ATTACHMENT_MTU, message, Why("IPPool", way.pool, "spec.attachment.mtu")),)


class Segment:
    """The bridge that pods share where they are attached to one, and the node's own address in each of its blocks."""

    def __init__(self, records: Records, bridge: parts.PodBridge) -> None:
        self._records = records
        self._local = records.local
        self._bridge = bridge

    def make_for(self, served: Collection[Prefix], *, bridged: bool, mtu: int | None) -> None:
        """As it has to be for what is ``served`` on it from now on, if it is, and for pods that live on it."""
        held = self._local.gateways()
        lived_in = self._records.in_use([one.network for one in held])
        keep = lived_in.union(served) if bridged else lived_in.difference(served)
        self._local.drop_gateways(one for one in held if one.network not in keep)
        if bridged:
            for cidr in served:
                self._local.take_gateway(cidr)
            self._make(mtu=mtu)
        elif not self.keep():
            with on_bridge():
                self._bridge.dismiss()

    def keep(self) -> bool:
        """It stays as it is, if there is one."""
        held = self._local.gateways()
        if held:
            self._make(mtu=None)
        return bool(held)

    def _make(self, *, mtu: int | None) -> None:
        gateways = self._local.gateways()
        with on_bridge():
            self._bridge.desire(gateways, mtu=mtu)

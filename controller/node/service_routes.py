"""The service routes of one node as steps see them: added to what the speaker is told."""

import asyncio
from collections.abc import Mapping

import msgspec
import structlog

from towpath.bgp.services import LEAVES_FOR, Standing, announcements_of, configured, drains, standing
from towpath.controller.node.parts import Services
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.net import Prefix
from towpath.model.reason import Why
from towpath.model.speaker import SpeakerState

log = structlog.get_logger()
_Inputs = tuple[SpeakerState, Mapping[Prefix, tuple[Why, ...]], BGPConfigurationSpec, Standing]


class ServiceRoutes:
    """Remembered are when a drain began, and the last result while nothing changed that it is made from."""

    def __init__(self, node: str, *, services: Services) -> None:
        self._node = node
        self._services = services
        self._drain_began: float | None = None
        self._standing = Standing()
        self._made: tuple[_Inputs, SpeakerState] | None = None

    def want(self, cluster: Cluster) -> None:
        """Follow services if this cluster announces any."""
        self._services.want(configured(cluster.bgp))

    @property
    def settled(self) -> bool:
        """Whether it is known what services there are, or that it cannot be known."""
        return self._services.settled

    @property
    def drained(self) -> bool:
        """Whether the first step of a drain is over by now, and was not in the last step of this node."""
        return self._standing.state == "Leaves" and self._drained_for() >= LEAVES_FOR

    def added_to(self, state: SpeakerState, cluster: Cluster) -> SpeakerState:
        """The state with the announcements of services in it; own blocks win where both have a prefix."""
        now = asyncio.get_running_loop().time()
        if drains(cluster, self._node) is None:
            self._drain_began = None
        elif self._drain_began is None:
            self._drain_began = now
        stands = standing(cluster, self._node, drained_for=self._drained_for())
        if stands != self._standing:
            log.info("services.standing", state=stands.state, reason=stands.reason)
            self._standing = stands
        inputs = (state, self._services.routes(), cluster.bgp, stands)
        if self._made is not None and _same(self._made[0], inputs):
            return self._made[1]
        services = announcements_of(inputs[1], config=cluster.bgp, node=stands)
        whole = msgspec.structs.replace(state, announcements=services | state.announcements) if services else state
        self._made = (inputs, whole)
        return whole

    def _drained_for(self) -> float:
        return 0.0 if self._drain_began is None else asyncio.get_running_loop().time() - self._drain_began


def _same(before: _Inputs, now: _Inputs) -> bool:
    return before[0] is now[0] and before[1] is now[1] and before[2] == now[2] and before[3] == now[3]

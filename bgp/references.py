"""Names in the objects that policy is made from, looked up: filters of peers, communities of prefixAdvertisements.

A name that nothing answers to is a refusal on the object that uses it, the same for every node and for the controller.
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter

from towpath.bgp.nodes import configuration_of
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.community import Community
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Session, Tagged

_NODE = "node."
_FILTERS = attrgetter("filters")


def unknown_names(cluster: Cluster) -> Iterator[Refusal]:
    """Everything of the whole cluster that is named and does not exist."""
    for name in sorted(cluster.peers):
        yield from unknown_filters(cluster, cluster.peers[name])
    for name in sorted(cluster.configurations):
        yield from tagged(cluster, name.removeprefix(_NODE) if name.startswith(_NODE) else "")[1]


def unknown_filters(cluster: Cluster, peer: BGPPeer) -> Iterator[Refusal]:
    """The filters of a peer that do not exist."""
    for place, name in enumerate(peer.spec.filters):
        if name not in cluster.filters:
            yield Refusal(
                Reason.UNKNOWN_FILTER,
                f"BGPFilter {name} does not exist: it rejects everything",
                Why("BGPPeer", peer.name, f"spec.filters[{place}]"),
            )


def named_filters(cluster: Cluster, sessions: Mapping[str, Session]) -> dict[str, BGPFilterSpec]:
    """The filters that sessions name, as far as they exist."""
    names = {name for some in set(map(_FILTERS, sessions.values())) for name in some}
    return {name: cluster.filters[name].spec for name in sorted(names) if name in cluster.filters}


def tagged(cluster: Cluster, node: str) -> tuple[tuple[Tagged, ...], tuple[Refusal, ...]]:
    """A node's prefixAdvertisements with their communities looked up, and a refusal for each name that is none."""
    own: BGPConfigurationSpec = configuration_of(cluster, node)
    names = {one.name: one.value for one in (*cluster.bgp.communities, *own.communities)}
    holder, advertisements = "default", cluster.bgp.prefix_advertisements
    if own.prefix_advertisements:
        holder, advertisements = f"{_NODE}{node}", own.prefix_advertisements
    found: list[Tagged] = []
    unknown: list[Refusal] = []
    for place, one in enumerate(advertisements):
        communities: list[Community] = []
        for text in one.communities:
            known = names.get(text)
            try:
                communities.append(Community.parse(text) if known is None else known)
            except ValueError:
                field = f"spec.prefixAdvertisements[{place}].communities"
                message = f"{text} is neither a community nor the name of one: it is left out"
                unknown.append(Refusal(Reason.UNKNOWN_COMMUNITY, message, Why("BGPConfiguration", holder, field)))
        found.append(Tagged(one.cidr, tuple(communities)))
    return tuple(found), tuple(unknown)

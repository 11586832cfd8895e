"""The metrics of a node, from its status: the same nouns, one series for each item of a list."""

from collections.abc import Iterator, Mapping

from towpath.controller.metrics import Measure, Sample, measure, single
from towpath.model.kinds.node import NodeStatusStatus, SessionReport


def measures(status: NodeStatusStatus | None, *, events: Mapping[str, int]) -> Iterator[Measure]:
    """``status`` None: there is no picture of the cluster yet. ``events``: how many were told, by reason."""
    yield measure(
        "towpath_events_total",
        "What was told as an event: sessions lost, prefixes refused, limits reached and the like.",
        *(Sample(count, {"reason": reason}) for reason, count in sorted(events.items())),
        counter=True,
    )
    if status is None:
        return
    yield single("towpath_in_sync", "Whether everything wanted is in place.", status.in_sync)
    yield measure(
        "towpath_condition",
        "1 for the present status of each condition.",
        *(Sample(1, {"type": one.type, "status": one.status, "reason": one.reason}) for one in status.conditions),
    )
    yield from _sessions(status)
    yield single("towpath_routes_desired", "Routes wanted in the kernel.", status.routes.desired)
    yield single("towpath_routes_installed", "Routes of ours in the kernel.", status.routes.installed)
    yield single(
        "towpath_route_conflicts", "Routes left alone because others' are in the way.", status.routes.conflicts
    )
    yield measure(
        "towpath_block_addresses",
        "Addresses of a block of this node that pods can get.",
        *(Sample(one.capacity, {"block": str(one.cidr)}) for one in status.blocks),
    )
    yield measure(
        "towpath_block_addresses_in_use",
        "Those of them in use.",
        *(Sample(one.in_use, {"block": str(one.cidr)}) for one in status.blocks),
    )
    yield single(
        "towpath_addresses_wanted", "Addresses of each family that pods of this node need.", status.wanted_addresses
    )


def _sessions(status: NodeStatusStatus) -> Iterator[Measure]:
    def each(name: str, text: str, value: str) -> Measure:
        return measure(name, text, *(Sample(getattr(one, value), _labels(one)) for one in status.sessions))

    yield measure(
        "towpath_session_established",
        "1 for a session that is up, 0 for one that is not; those that are withheld are left out.",
        *(Sample(one.state == "Established", _labels(one)) for one in status.sessions if one.state != "Withheld"),
    )
    yield each("towpath_session_prefixes_received", "Prefixes received.", "received")
    yield each("towpath_session_prefixes_accepted", "Prefixes accepted.", "accepted")
    yield each("towpath_session_prefixes_announced", "Prefixes announced.", "announced")
    yield measure(
        "towpath_session_prefixes_refused",
        "Prefixes received and not accepted, by reason.",
        *(
            Sample(refused.prefixes, {**_labels(one), "reason": refused.reason})
            for one in status.sessions
            for refused in one.refused
        ),
    )


def _labels(session: SessionReport) -> dict[str, str]:
    return {"session": session.name, "peer": session.peer, "remote_as": str(session.remote_as)}

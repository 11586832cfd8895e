"""What operators are told of what sessions send: in words, and at the rate of ``notices``."""

from collections.abc import Callable, Mapping
from typing import Final

from towpath.bgp.notices import Notices
from towpath.bgp.peer import Peer
from towpath.bgp.ports import Negotiated
from towpath.bgp.rib import HELD
from towpath.model.net import Family, Prefix
from towpath.model.reason import Reason
from towpath.model.speaker import Notice

LIMIT_INTERVAL: Final = 300.0
"""Seconds between notices that a prefix limit is near or reached."""
_TOLD_AT_ONCE: Final = {
    Reason.ORIGIN_INVALID: "announces {}, which lies in or over what is another node's",
    Reason.OWN_BLOCK: "announces {}, which lies in a block of this node",
    Reason.OWN_ADDRESS: "announces {}, an address of this node",
}


class Remarks:
    """See the module. ``peers`` is the table's own mapping."""

    def __init__(self, peers: Mapping[str, Peer], clock: Callable[[], float]) -> None:
        self._peers = peers
        self._clock = clock
        self._notices = Notices()

    def refused(self, name: str, reason: Reason, prefix: Prefix) -> None:
        """A session's path was refused."""
        now = self._clock()
        if reason in _TOLD_AT_ONCE:
            self._notices.say(Notice(reason, _TOLD_AT_ONCE[reason].format(prefix), name), now=now)
        elif reason is Reason.ORIGIN_UNKNOWN:
            self._notices.watch(name, reason, now=now)

    def mute(self, name: str, family: Family, negotiated: Negotiated) -> None:
        """Nothing can be announced in a family."""
        text = (
            f"nothing is announced in {family.key}: the session's local address {negotiated.local_address} "
            "is no next hop for it"
        )
        self._notices.say(Notice(Reason.NO_ADDRESS, text, name), now=self._clock())

    def limits(self, peer: Peer) -> None:
        """A peer has sent something: it may have come near to what is accepted or held of it."""
        now = self._clock()
        if peer.inbound.forgot:
            text = f"sends more than {HELD} prefixes that may not be used; those beyond it are forgotten"
            self._notices.say(
                Notice(Reason.TOO_MANY_REFUSED, text, peer.session.name), now=now, interval=LIMIT_INTERVAL
            )
        limit, accepted = peer.session.max_prefix, peer.inbound.accepted
        if accepted * 100 < limit.limit * limit.warn_percent:
            return
        capped = any(receiver.rib.capped for receiver in peer.receivers)
        text = f"{accepted} of at most {limit.limit} prefixes are accepted"
        if capped:
            text += "; more are sent and refused" if limit.action == "Refuse" else "; more are sent, the session ends"
        self._notices.say(Notice(Reason.MAX_PREFIX, text, peer.session.name), now=now, interval=LIMIT_INTERVAL)

    def forget(self, name: str) -> None:
        """The session is gone."""
        self._notices.forget(name)

    @property
    def deadline(self) -> float | None:
        """When ``expire`` has something to do."""
        return self._notices.deadline

    def expire(self, now: float) -> None:
        """Say what has lasted."""
        self._notices.expire(now, {Reason.ORIGIN_UNKNOWN: self._still_unknown})

    def _still_unknown(self, name: str) -> Notice | None:
        peer = self._peers.get(name)
        if peer is None:
            return None
        count = sum(receiver.rib.refusals()[Reason.ORIGIN_UNKNOWN] for receiver in peer.receivers)
        if not count:
            return None
        return Notice(
            Reason.ORIGIN_UNKNOWN, f"announces {count} prefixes inside pools that lie in no known block", name
        )

    def drain(self) -> list[Notice]:
        """What is due, once."""
        return self._notices.drain()

"""Passwords by peer address: TCP-MD5 keys go by address, so of two for one address only one can hold (RULES: who talks to whom, 3)."""

from collections.abc import Iterable

from msgspec.structs import replace

from towpath.bgp.interfaces import key_address
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import SecretKey
from towpath.model.net import Address
from towpath.model.reason import Reason, Refusal
from towpath.model.speaker import Session


def passwords(cluster: Cluster) -> frozenset[SecretKey]:
    """The different passwords that sessions of the cluster are asked to have."""
    references = [cluster.bgp.node_mesh_password, *(peer.spec.password for peer in cluster.peers.values())]
    return frozenset(one.secret_key_ref for one in references if one is not None)


def one_password_each(sessions: Iterable[Session]) -> tuple[tuple[Session, ...], tuple[Refusal, ...]]:
    """The sessions, those withheld that have another password than an earlier one with the same peer, and why."""
    holds: dict[Address, Session] = {}
    made: list[Session] = []
    refused: list[Refusal] = []
    for session in sessions:
        if session.password_ref is None or session.state == "Withheld":
            made.append(session)
            continue
        first = holds.setdefault(key_address(session), session)
        if first.password_ref == session.password_ref:
            made.append(session)
            continue
        message = (
            f"session {first.name} has another password for {session.peer_address}, and there can be one an address"
        )
        refused.append(Refusal(Reason.PASSWORD_CONFLICT, message, session.why[0]))
        made.append(replace(session, state="Withheld", reason=Reason.PASSWORD_CONFLICT))
    return tuple(made), tuple(refused)

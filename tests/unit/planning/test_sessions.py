"""Sessions as documents, as JSON and as the rows of a table: three ways to say the same, whatever they have in common."""

import json
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from msgspec.structs import fields, replace

from towpath.controller.plan.sessions import SessionWriter
from towpath.controller.plan.table import cause
from towpath.model.kinds.bgp import SecretKey
from towpath.model.net import Family
from towpath.model.reason import Reason, Why
from towpath.model.speaker import MaxPrefix, Session

ONE = Session(
    name="Node-10-0-0-2",
    peer_address=ip_address("10.0.0.2"),
    passive=False,
    scope="Mesh",
    peer_port=179,
    remote_as=64512,
    local_as=64512,
    local_address=ip_address("10.0.0.1"),
    families=(Family.IPV4,),
    hold_time=90,
    keepalive_time=30,
    connect_retry_time=5,
    restart_time=120,
    import_policy="Filtered",
    max_prefix=MaxPrefix(256),
    peer_node="n2",
    why=(Why("BGPConfiguration", "default", "spec.nodeToNodeMeshEnabled"),),
)
ANOTHER: dict[str, Any] = {
    "name": "Node-10-0-0-3",
    "peer_address": ip_address("10.0.0.3"),
    "passive": True,
    "scope": "Global",
    "peer_port": 1790,
    "remote_as": 64513,
    "local_as": 64514,
    "local_address": None,
    "families": (Family.IPV4, Family.IPV6),
    "hold_time": 9,
    "keepalive_time": 3,
    "connect_retry_time": 1,
    "restart_time": None,
    "import_policy": "All",
    "max_prefix": MaxPrefix(10, action="Reset", restart_after=60),
    "allow_local_as": 1,
    "interface": "eth0",
    "multihop": 64,
    "ttl_security": 1,
    "reachable_by": ip_address("10.0.0.254"),
    "shutdown_message": "so long",
    "filters": ("first", "second"),
    "add_paths": True,
    "advertise": "All",
    "next_hop": "Keep",
    "shared_subnet": ip_network("10.0.0.0/24"),
    "own_hops": (ip_address("10.0.0.2"),),
    "next_hop_beside": ip_address("fd00::1"),
    "cluster_id": IPv4Address("10.0.0.1"),
    "route_reflector_client": True,
    "role": "customer",
    "strict_role": True,
    "password_ref": SecretKey("fabric", "password"),
    "state": "Withheld",
    "reason": Reason.SHUTDOWN,
    "peer_node": "n3",
    "why": (Why("BGPPeer", "tor", "spec.peerIP"),),
}
"""Another value of each field."""


def test_every_field_is_tried() -> None:
    """A field that is new has to be in the table above."""
    assert list(ANOTHER) == [one.name for one in fields(Session)]


@pytest.mark.parametrize("field", ANOTHER)
def test_what_is_told_of_a_session_does_not_depend_on_the_one_before(field: str) -> None:
    """Two that are the same but for one field say of themselves what each says alone, in all three ways."""
    pair = [ONE, replace(ONE, **{field: ANOTHER[field]})]
    alone = [document for one in pair for document in SessionWriter().documents([one])]
    writer = SessionWriter()
    assert writer.documents(pair) == alone
    assert [json.loads(text) for text in "".join(writer.encoded(pair).text("\n")).split("\n")] == alone
    rows = [
        ({**some.like, "passive": passive}, peer, why)
        for some in writer.rows(pair)
        for peer, passive, why in zip(some.peers, some.passive, some.causes, strict=True)
    ]
    of_peers = {"name", "peerIP", "why"}
    assert [
        ({key: value for key, value in like.items() if key not in of_peers}, peer, why) for like, peer, why in rows
    ] == [
        (
            {key: value for key, value in one.items() if key not in of_peers},
            one["peerIP"] or one["interface"],
            cause(one["why"]),
        )
        for one in alone
    ]


def test_what_sessions_of_a_mesh_have_in_common_is_found_once() -> None:
    """Sessions that differ in their peers alone are one run of rows."""
    peers = [
        replace(ONE, name=f"Node-10-0-0-{host}", peer_address=ip_address(f"10.0.0.{host}"), passive=host > 5)
        for host in range(2, 10)
    ]
    (rows,) = SessionWriter().rows(peers)
    assert rows.peers == [f"10.0.0.{host}" for host in range(2, 10)]
    assert rows.passive == [host > 5 for host in range(2, 10)]

"""The allocator in random small worlds in which everything goes wrong that can, and what must hold in all of them.

``tests/sim/ipam/model`` is the model. Whole controllers, in worlds where less happens, are in ``test_two_leaders.py``.
"""

import random

import pytest

from tests.effort import SEED, examples
from tests.sim.ipam.model.chance import Plan, worlds
from tests.sim.ipam.model.server import Request, Server, outcome
from tests.sim.ipam.model.world import Shape
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.ports import ApiError
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.storage import Storage
from towpath.model.decode import decode

PLANS = {
    "a block for everybody": (400, Plan(Shape(pool="10.0.0.0/28", names=("a", "b", "c"), spares=1))),
    "names pass from machine to machine": (400, Plan(Shape(pool="10.0.0.0/29", names=("a", "b"), spares=2), steps=80)),
    "not enough for all": (200, Plan(Shape(pool="10.0.0.0/29", names=("a", "b", "c"), spares=1), steps=80)),
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("what", PLANS)
def test_no_address_has_two_owners_and_none_in_use_is_released(what):
    """Whatever goes wrong; and when nothing does any more, every node is served and every block can be used again."""
    count, plan = PLANS[what]
    assert worlds(plan, examples(count, soak=10 * count), seed=f"{SEED}:{what}") > count


SPEC = {"cidr": "10.0.0.0/30", "node": "a", "nodeUID": "u", "pool": "four"}


def asked(order: random.Random, known: list[dict]) -> Request:
    """Something about a block, with preconditions that may hold."""
    verb = order.choice(("get", "create", "replace", "delete"))
    seen = order.choice(known)["metadata"] if known else {"uid": "x", "resourceVersion": "1"}
    spec = {**SPEC, "state": order.choice(("Active", "Draining", "Quarantined"))}
    body = {"apiVersion": "towpath.io/v1alpha1", "kind": "IPAMBlock", "metadata": {"name": "10-0-0-0-30"}, "spec": spec}
    if verb == "replace":
        # a real server refuses a change without a version; who has no such guard would read the version first
        kept = ("uid", "resourceVersion") if order.random() < 0.7 else ("resourceVersion",)
        body["metadata"] |= {key: seen[key] for key in kept}
    uid, version = (seen[key] if order.random() < 0.7 else "" for key in ("uid", "resourceVersion"))
    return Request(verb, "IPAMBlock", "10-0-0-0-30", body, uid, version)


def at_the_labs(objects: Objects, request: Request) -> dict | str | None:
    """The same request to the server that the contract suite knows: an object, nothing, or the reason of a refusal."""
    resource = RESOURCES[request.kind]
    try:
        match request.verb:
            case "get":
                return objects.get(resource, request.name)
            case "create":
                return objects.create(resource, request.body)
            case "replace":
                return objects.update(resource, request.body, name=request.name)
            case _:
                preconditions = {"uid": request.uid, "resourceVersion": request.version}
                objects.delete(resource, request.name, preconditions=preconditions)
                return None
    except RefusedError as refused:
        return refused.reason


def test_the_models_server_says_what_the_labs_says():
    """Of creation, change and deletion, with every precondition, right or wrong."""
    for number in range(examples(100)):
        order = random.Random(f"{SEED}:{number}")
        objects, server = Objects(Storage(":memory:")), Server()
        versions: dict[str, str] = {}
        uids: dict[str, str] = {}
        known: list[dict] = []
        try:
            for _ in range(20):
                theirs_asked = asked(order, known)
                metadata = theirs_asked.body["metadata"]
                mine_asked = theirs_asked._replace(
                    uid=uids.get(theirs_asked.uid, theirs_asked.uid),
                    version=versions.get(theirs_asked.version, theirs_asked.version),
                    body={
                        **theirs_asked.body,
                        "metadata": {
                            key: uids.get(value, versions.get(value, value)) for key, value in metadata.items()
                        },
                    },
                )
                theirs, mine = at_the_labs(objects, theirs_asked), outcome(server, mine_asked)
                if isinstance(mine, ApiError):
                    assert mine.reason == theirs, mine_asked
                elif mine is None:
                    assert theirs is None, mine_asked
                else:
                    assert isinstance(theirs, dict), mine_asked
                    known.append(theirs)
                    uids[theirs["metadata"]["uid"]] = mine["metadata"]["uid"]
                    versions[theirs["metadata"]["resourceVersion"]] = mine["metadata"]["resourceVersion"]
                    assert decode("IPAMBlock", mine).spec == decode("IPAMBlock", theirs).spec
                    assert mine["metadata"]["generation"] == theirs["metadata"]["generation"]
        finally:
            objects.storage.close()

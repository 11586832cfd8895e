"""The embedded API server judges the table of good and bad objects as the real one does (``tests/kube``)."""

import pytest

from tests.unit.model.cases import BAD, GOOD, Case
from tests.unit.model.schema_cases import schema_cases
from towpath.controller.kube.resources import RESOURCES
from towpath.lab.apiserver.objects import Body, Objects
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.storage import Storage
from towpath.model.decode import decode, encode
from towpath.model.kinds.kind import API_VERSION


@pytest.fixture
def server() -> Objects:
    return Objects(Storage(":memory:"))


def offer(server: Objects, case: Case) -> Body:
    """Create the object, or change it from what it was; unknown fields are refused, as kubectl asks for."""
    resource = RESOURCES[case.kind]
    body: Body = {"apiVersion": API_VERSION, "kind": case.kind, "metadata": {"name": case.name}}
    if case.before is not None:
        before = server.create(resource, body | {"spec": case.before})
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        return server.update(resource, body | {"spec": case.spec}, name=case.name, strict=True)
    return server.create(resource, body if case.spec is None else body | {"spec": case.spec}, strict=True)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_good_objects_are_taken(server: Objects, case: Case) -> None:
    """What it makes of a good object (defaults filled in) means the same to our decoder, and what we write is taken."""
    taken = offer(server, case)
    given = decode(case.kind, {"metadata": {"name": case.name}, "spec": case.spec})
    assert decode(case.kind, taken).spec == given.spec
    server.delete(RESOURCES[case.kind], case.name)
    server.create(RESOURCES[case.kind], encode(given), strict=True)


@pytest.mark.parametrize("case", [*BAD, *schema_cases()], ids=lambda case: case.id)
def test_bad_objects_are_refused_where_the_real_server_refuses_them(server: Objects, case: Case) -> None:
    """400 or 422; what the real server cannot tell this one lets pass too."""
    if case.only == "decode":
        offer(server, case)
        return
    with pytest.raises(RefusedError) as refused:
        offer(server, case)
    assert refused.value.code in (400, 422)
    assert refused.value.status()["message"]

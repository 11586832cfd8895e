"""The CRDs at start: created where missing, made newer, never older, and a refusal is said and ends nothing."""

import copy
import itertools

import pytest

from towpath.controller.cli import parser
from towpath.controller.definitions import KIND, RELEASE, Definitions, is_same, order, release, stamped
from towpath.controller.ports import ForbiddenError
from towpath.lab.fake_api import FakeApi
from towpath.model.crd import crds

NAMES = sorted(crd["metadata"]["name"] for crd in crds())


async def there(api):
    """All definitions, by name."""
    return {item["metadata"]["name"]: item for item in (await api.list(KIND)).items}


async def empty():
    """A server that knows none of our kinds."""
    api = FakeApi()
    for name in await there(api):
        await api.delete(KIND, name)
    return api


def marks(objects):
    """The release that each was written by."""
    return {name: one["metadata"].get("annotations", {}).get(RELEASE) for name, one in objects.items()}


async def test_missing_ones_are_created_once():
    """With the mark of this release; a second look writes nothing."""
    api = await empty()
    assert await Definitions(api).step()
    assert marks(await there(api)) == dict.fromkeys(NAMES, release())
    before = await there(api)
    api.calls.clear()
    assert await Definitions(api).step()
    assert {call.verb for call in api.calls} == {"get"}
    assert await there(api) == before


@pytest.mark.parametrize(("theirs", "taken"), [("", True), ("0.0.9", True), ("nonsense", True), ("999.0", False)])
async def test_older_ones_are_replaced_and_newer_ones_are_left(theirs, taken):
    """The mark decides; one without it counts as older."""
    api = await empty()
    old = copy.deepcopy(crds())
    for one in old:
        one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "other"
        await api.create(KIND, stamped(one, by=theirs) if theirs else one)
    assert await Definitions(api).step()
    descriptions = {
        one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] for one in (await there(api)).values()
    }
    assert (descriptions == {"other"}) is not taken
    assert marks(await there(api)) == dict.fromkeys(NAMES, release() if taken else theirs)


async def test_what_others_wrote_beside_it_stays():
    """Labels and annotations of whoever installed it."""
    api = await empty()
    one = stamped(crds()[0], by="0.0.1")
    one["metadata"]["labels"] = {"app": "x"}
    one["metadata"]["annotations"]["meta.helm.sh/release-name"] = "towpath"
    await api.create(KIND, one)
    await Definitions(api).step()
    metadata = (await there(api))[one["metadata"]["name"]]["metadata"]
    assert metadata["labels"] == {"app": "x"}
    assert metadata["annotations"] == {"meta.helm.sh/release-name": "towpath", RELEASE: release()}


async def test_a_refusal_is_kept_for_people_and_the_others_are_tried():
    """The API server's message names verb and resource; nothing is raised."""
    api = await empty()

    class Refusing:
        get = api.get
        replace = api.replace

        @staticmethod
        async def create(kind, body):
            if body["metadata"]["name"] == NAMES[0]:
                raise ForbiddenError(f"create {kind} {NAMES[0]}: cannot create resource", status=403)
            return await api.create(kind, body)

    definitions = Definitions(Refusing())
    assert not await definitions.step()
    assert definitions.problems == (f"create {KIND} {NAMES[0]}: cannot create resource",)
    assert sorted(await there(api)) == NAMES[1:]


def test_releases_are_ordered_as_people_read_them():
    """By number, a final one after those that led to it; no release at all before any."""
    ordered = ["", "0.0.9", "0.1.0rc1", "0.1", "0.2", "0.10.0-beta.1", "0.10.0", "v1.0", "1.0.1"]
    assert all(order(one) < order(other) for one, other in itertools.pairwise(ordered))
    assert order("0.1") == order("0.1.0") == order("v0.1.0+local")


def test_only_what_the_server_adds_may_be_more():
    """A field too many in a schema is a difference, and so is a list with other entries."""
    assert is_same({"a": [1], "conversion": {"strategy": "None"}}, {"a": [1]})
    assert not is_same({"a": [1], "b": 2}, {"a": [1]})
    assert not is_same({"a": [1, 2]}, {"a": [1]})
    assert not is_same({"a": [1]}, {"a": [1], "b": {}})


def test_the_switch():
    """On unless set, by flag or environment; anything but true and false is refused."""
    assert parser({}).parse_args(["controller"]).manage_crds is True
    assert parser({"TOWPATH_MANAGE_CRDS": "False"}).parse_args(["controller"]).manage_crds is False
    assert parser({}).parse_args(["controller", "--manage-crds", "false"]).manage_crds is False
    with pytest.raises(SystemExit):
        parser({}).parse_args(["controller", "--manage-crds", "maybe"])

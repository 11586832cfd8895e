"""A client with a pod's account on the real API server: rights, tokens, authorities and limits that change while it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kube.accounts import Account
from tests.patience import asked, eventually, within
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import ApiError, ForbiddenError, UnreachableError
from towpath.controller.store import Store
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.wire import Wire
from towpath.model.reason import Reason

READ = "get,list,watch"
OURS = ("towpath.io", "*", READ)
NODES = ("", "nodes", READ)
RETRY = Retry(first=0.05, longest=0.5, longest_refused=0.5)


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[RealKubernetes]:
    with RealKubernetes() as made:
        made.install_crds()
        yield made


class Following(NamedTuple):
    """A store that follows pools and Nodes with an account, over a wire."""

    account: Account
    api: KubeApi
    store: Store
    wire: Wire


@pytest.fixture
async def followed(
    kubernetes: RealKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Following]:
    name = request.node.name.replace("_", "-")[:50]
    account = Account(kubernetes, name, folder=tmp_path / "account")
    account.give_token(f"{name}-1")
    account.allow(OURS, NODES)
    store = Store(("IPPool", "Node"))
    async with (
        Wire(kubernetes.place.secure) as wire,
        account.client(monkeypatch, port=wire.port) as api,
        following(api, store, retry=RETRY),
    ):
        await eventually(lambda: store.complete and store.unreachable_for() == 0, deadline=10)
        yield Following(account, api, store, wire)
    for plural in ("ippools", "nodes"):
        prefix = "/apis/towpath.io/v1alpha1" if plural == "ippools" else "/api/v1"
        for item in kubernetes.request("GET", f"{prefix}/{plural}")["items"]:
            kubernetes.request("DELETE", f"{prefix}/{plural}/{item['metadata']['name']}")


def put_pool(kubernetes: RealKubernetes, name: str, number: int) -> None:
    body = {
        "apiVersion": "towpath.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": f"10.{number}.0.0/16"},
    }
    kubernetes.request("POST", "/apis/towpath.io/v1alpha1/ippools", body=body)


async def refused(api: KubeApi) -> Any:
    """How a list of pools ends: an error, or None."""
    try:
        await api.list("IPPool")
    except ApiError as error:
        return error
    return None


async def until(api: KubeApi, kind: type[ApiError] | None) -> Any:
    """List until it ends with this error, or well."""
    async with within(30):
        while True:
            found = await refused(api)
            if (found is None) if kind is None else type(found) is kind:
                return found
            await asyncio.sleep(0.2)


def forbidden(store: Store) -> dict[str, str]:
    return {one.kind: one.message for one in store.problems() if one.reason is Reason.FORBIDDEN}


async def test_rights_that_are_taken_away(followed: Following, kubernetes: RealKubernetes) -> None:
    """Verb, resource and account are named; what was known stays, other kinds go on; it recovers once the right is back."""
    account, _, store, wire = followed
    put_pool(kubernetes, "a", 1)
    await eventually(lambda: "a" in store.cluster().pools)
    account.allow(NODES)
    wire.cut()  # a watch that is open goes on: rights are looked at when it is opened
    await eventually(lambda: "IPPool" in forbidden(store), deadline=10)
    message = forbidden(store)["IPPool"]
    verb, _, _ = message.partition(" IPPool: ")
    assert verb in {"list", "watch"}  # before a watch goes on the server is asked which version it has
    assert account.user in message
    assert f'cannot {verb} resource "ippools" in API group "towpath.io"' in message
    assert list(forbidden(store)) == ["IPPool"]
    put_pool(kubernetes, "b", 2)
    kubernetes.request("POST", "/api/v1/nodes", body={"metadata": {"name": "n"}})
    await eventually(lambda: "n" in store.cluster().nodes)
    assert list(store.cluster().pools) == ["a"]
    account.forbid()
    wire.cut()
    await eventually(lambda: sorted(forbidden(store)) == ["IPPool", "Node"], deadline=10)
    before = store.unreachable_for()
    await eventually(lambda: store.unreachable_for() > before + 2)
    assert store.unanswered_for() < store.unreachable_for()  # it answers: there is no reason to restart anybody
    account.allow(OURS, NODES)
    await eventually(lambda: not forbidden(store) and sorted(store.cluster().pools) == ["a", "b"], deadline=10)


async def test_a_token_that_ends_and_its_successor(followed: Following, kubernetes: RealKubernetes) -> None:
    """A 401 names the file that the token is from; open watches go on; the next token is used without a restart."""
    account, api, store, wire = followed
    account.revoke_token(f"{account.name}-1")
    error = await until(api, ForbiddenError)
    assert (error.status, str(account.folder / "token") in str(error)) == (401, True)
    wire.cut()
    await eventually(lambda: sorted(forbidden(store)) == ["IPPool", "Node"], deadline=10)
    account.give_token(f"{account.name}-2")
    assert await refused(api) is None
    put_pool(kubernetes, "a", 1)
    await eventually(lambda: not forbidden(store) and "a" in store.cluster().pools, deadline=10)


async def test_a_new_authority(followed: Following, kubernetes: RealKubernetes) -> None:
    """A server whose certificate another authority vouches for is not believed, until that authority lies in the folder."""
    account, api, store, wire = followed
    kubernetes.place.authority.make()
    kubernetes.place.certify()
    kubernetes.wait_ready()  # the server reads its certificate again by itself
    wire.cut()

    async def disbelieved() -> bool:
        """A connection that was cut with the wire is an error of another kind."""
        error = await refused(api)
        return isinstance(error, UnreachableError) and "certificate" in str(error).lower()

    await asked(disbelieved, what="its certificate is not believed")
    await eventually(lambda: store.unreachable_for() > 0)
    put_pool(kubernetes, "a", 1)
    account.trust()
    await until(api, None)
    await eventually(lambda: "a" in store.cluster().pools, deadline=10)


async def test_too_many_requests(followed: Following, kubernetes: RealKubernetes) -> None:
    """Priority and fairness refuses with 429: waited for as the server asks, then told; nothing is lost; it ends by itself."""
    account, api, store, _ = followed
    flow = "/apis/flowcontrol.apiserver.k8s.io/v1"
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    level = {"metadata": {"name": "nothing"}, "spec": {"type": "Limited", "limited": limited}}
    rules = {
        "subjects": [{"kind": "User", "user": {"name": account.user}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}],
    }
    schema = {
        "metadata": {"name": "nothing"},
        "spec": {
            "priorityLevelConfiguration": {"name": "nothing"},
            "matchingPrecedence": 10,
            "rules": [rules],
        },
    }
    put_pool(kubernetes, "a", 1)
    await eventually(lambda: "a" in store.cluster().pools)
    kubernetes.request("POST", f"{flow}/prioritylevelconfigurations", body=level)
    try:
        kubernetes.request("POST", f"{flow}/flowschemas", body=schema)
        errors: list[ApiError] = []
        async with within(30):
            while not errors:
                # one at a time would be let in
                found = await asyncio.gather(*(refused(api) for _ in range(60)))
                errors = [error for error in found if error is not None]
        assert {(error.status, bool(error.retry_after)) for error in errors} == {(429, True)}
        assert str(errors[0]).startswith("list IPPool: ")
        assert list(store.cluster().pools) == ["a"]
    finally:
        with contextlib.suppress(OSError):
            kubernetes.request("DELETE", f"{flow}/flowschemas/nothing")
        kubernetes.request("DELETE", f"{flow}/prioritylevelconfigurations/nothing")
    await until(api, None)

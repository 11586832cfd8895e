"""A store that follows the real API server through its death and its return."""

import asyncio

import pytest

from tests.patience import eventually, within
from towpath.controller.kube.client import Timeouts
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import AlreadyExistsError, ApiError, UnreachableError
from towpath.controller.store import Store
from towpath.lab.kubernetes import RealKubernetes
from towpath.model.reason import Reason


async def test_away_and_back():
    """While it is away nothing changes; when it is back the store catches up; a CRD that is removed keeps its objects."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        store = Store(("IPPool", "Node"))
        async with (
            await connect(kubeconfig=kubernetes.kubeconfig) as api,
            following(api, store, retry=Retry(longest=0.5, longest_refused=0.5)),
        ):
            await api.create("IPPool", {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}})
            await eventually(lambda: store.complete and "a" in store.cluster().pools)
            kubernetes.apiserver.kill()
            await eventually(lambda: store.unreachable_for() > 0.2)
            assert store.complete
            assert list(store.cluster().pools) == ["a"]
            kubernetes.apiserver.start()
            await eventually(lambda: store.unreachable_for() == 0, deadline=60)
            async with within(20):
                while True:
                    try:
                        await api.patch("IPPool", "a", {"spec": {"disabled": True}})
                        break
                    except ApiError:
                        await asyncio.sleep(0.1)
            await eventually(lambda: store.cluster().pools["a"].spec.disabled)
            await api.delete("CustomResourceDefinition", "ippools.towpath.io")
            await eventually(lambda: any(one.reason is Reason.KIND_MISSING for one in store.problems()), deadline=40)
            assert list(store.cluster().pools) == ["a"]
            kubernetes.request(
                "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=_definition("IPPool")
            )
            await eventually(
                lambda: not any(one.reason is Reason.KIND_MISSING for one in store.problems()), deadline=40
            )


async def test_the_store_of_the_api_server_dies():
    """While etcd is away nothing changes and every write is an error in time; when it is back both go on, nothing confirmed is lost."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        store = Store(("IPPool", "Node"))
        async with (
            await connect(kubeconfig=kubernetes.kubeconfig) as api,
            await connect(kubeconfig=kubernetes.kubeconfig, timeouts=Timeouts(request=2)) as hasty,
            following(api, store, retry=Retry(longest=0.5, longest_refused=0.5)),
        ):
            await api.create("IPPool", {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}})
            await eventually(lambda: store.complete and "a" in store.cluster().pools)
            kubernetes.etcd.kill()
            for number in range(1, 4):
                with pytest.raises(UnreachableError, match="create IPPool b"):  # it may have been carried out
                    await hasty.create("IPPool", {"metadata": {"name": "b"}, "spec": {"cidr": f"10.{number}.0.0/16"}})
            assert (store.complete, list(store.cluster().pools), store.problems()) == (True, ["a"], ())
            kubernetes.etcd.start()
            async with within(60):
                while True:
                    try:
                        await api.create("IPPool", {"metadata": {"name": "c"}, "spec": {"cidr": "10.9.0.0/16"}})
                        break
                    except AlreadyExistsError:
                        break  # an answer that was lost
                    except ApiError:
                        await asyncio.sleep(0.1)
            await eventually(lambda: {"a", "c"} <= store.cluster().pools.keys(), deadline=30)


def _definition(kind):
    from towpath.model.crd import crds

    return next(crd for crd in crds() if crd["spec"]["names"]["kind"] == kind)

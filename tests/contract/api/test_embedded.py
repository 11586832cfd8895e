"""The embedded server alone: what only it can be made to do, and what kubectl sees of it."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from tests.patience import longer, within
from towpath.controller.kube.connect import connect
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import GoneError, UnreachableError
from towpath.controller.store import Store
from towpath.lab import tools
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.selectors import Wanted
from towpath.lab.apiserver.storage import Storage
from towpath.lab.apiserver.watching import watch
from towpath.lab.kubernetes import free_ports
from towpath.lab.process import Process, wait_for
from towpath.model.kinds.ipam import IP_POOL


def _pool(index):
    return {"metadata": {"name": f"p{index}"}, "spec": {"cidr": f"10.{index}.0.0/16"}}


async def test_bookmarks(embedded):
    """A silent watch moves on by bookmarks, so that it never becomes too old."""
    _, api = embedded
    start = (await api.list("IPPool")).resource_version
    async with within(5), contextlib.aclosing(api.watch("IPPool", start)) as watch:
        assert (await anext(watch)).type == "BOOKMARK"
        await api.create("Node", {"metadata": {"name": "n"}})
        async for event in watch:  # some may have been under way
            assert event.type == "BOOKMARK"
            if int(event.object["metadata"]["resourceVersion"]) > int(start):
                break


async def test_a_change_at_the_moment_of_a_bookmark_is_told():
    """Written when the time for a bookmark is over and its turn has not come yet: it comes first, and is not skipped."""
    loop, objects = asyncio.get_running_loop(), Objects(Storage(":memory:"))
    wanted = watch(
        objects,
        RESOURCES["IPPool"],
        Wanted(RESOURCES["IPPool"]),
        namespace="",
        start=objects.storage.latest,
        bookmarks=0.05,
    )
    async with contextlib.aclosing(wanted) as watching:
        first = asyncio.create_task(anext(watching))
        await asyncio.sleep(0)
        loop.call_later(0.06, objects.create, RESOURCES["IPPool"], _pool(0))
        time.sleep(0.1)  # the loop finds both due at once, in their order
        async with within(5):
            kind, body = await first
    assert (kind, body["metadata"].get("name")) == ("ADDED", "p0")


async def test_too_old(embedded):
    """A watch and a continue token from before the log starts are GoneError."""
    server, api = embedded
    for index in range(3):
        await api.create("IPPool", _pool(index))
    page = await api.list("IPPool", limit=1)
    await api.create("IPPool", _pool(3))
    server.objects.storage.compact(server.objects.storage.latest)
    with pytest.raises(GoneError):
        await api.list("IPPool", limit=1, continue_token=page.continue_token)
    with pytest.raises(GoneError):
        async for _ in api.watch("IPPool", page.resource_version):
            pass


async def test_reflector_lists_again_after_410(embedded, settled):
    """A store whose version is too old by now catches up by a new list; nothing was lost in between."""
    server, api = embedded
    await api.create("IPPool", _pool(0))
    store = Store(("IPPool",))
    async with following(api, store, retry=Retry(first=0.2)):
        await settled(lambda: store.complete)
        server.end_watches()
        await api.create("IPPool", _pool(1))
        await api.delete("IPPool", "p0")
        server.objects.storage.compact(server.objects.storage.latest)
        await settled(lambda: list(store.cluster().pools) == ["p1"])


async def test_server_closes_watches(embedded, settled):
    """A watch that the server ends goes on where it was, without a new list."""
    server, api = embedded
    store = Store(("IPPool",))
    async with following(api, store, retry=Retry(first=0.02)):
        await settled(lambda: store.complete)
        for index in range(4):
            server.end_watches()
            await api.create("IPPool", _pool(index))
            await settled(lambda index=index: f"p{index}" in store.cluster().pools)


async def test_kill_loses_no_confirmed_write(tmp_path, settled):
    """Killed in the middle of writes, the server comes back with everything that it had confirmed, and followers catch up."""
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "towpath.lab.apiserver",
        "--listen",
        f"127.0.0.1:{port}",
        "--data",
        str(tmp_path / "data"),
    ]
    process = Process(command, log=tmp_path / "log").start()
    confirmed: list[str] = []
    store = Store(("Node",))
    try:
        wait_for(lambda: "serving" in process.log, deadline=10, what="it serves")
        async with (
            await connect(server=f"http://127.0.0.1:{port}") as api,
            following(api, store, retry=Retry(longest=0.3)),
        ):

            async def write(writer):
                for index in range(1000):
                    name = f"n{writer}-{index}"
                    try:
                        await api.create("Node", {"metadata": {"name": name}})
                    except UnreachableError:
                        return
                    confirmed.append(name)

            writers = [asyncio.create_task(write(writer)) for writer in range(4)]
            await settled(
                lambda: store.complete and len(confirmed) > 60 and len(store.cluster().nodes) > 30, deadline=30
            )
            process.kill()
            await asyncio.gather(*writers)
            await settled(lambda: store.unreachable_for() > 0)
            assert store.complete
            assert len(store.cluster().nodes) > 30
            process.start()
            await settled(
                lambda: store.unreachable_for() == 0 and set(confirmed) <= set(store.cluster().nodes), deadline=10
            )
            items = (await api.list("Node")).items
            assert set(confirmed) <= {item["metadata"]["name"] for item in items}
    finally:
        process.stop()


async def test_kubectl(embedded, tmp_path, settled):
    """kubectl finds our kinds, applies, gets tables, patches, watches and deletes."""
    server, api = embedded

    def kubectl(*arguments, stdin=None, check=True):
        command = [str(tools.kubectl()), "--server", server.url, "--cache-dir", str(tmp_path / "cache"), *arguments]
        environment = {**os.environ, "KUBECONFIG": "/dev/null"}
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=check, env=environment, timeout=longer(30)
        )

    async def run(*arguments, **options):
        return await asyncio.to_thread(kubectl, *arguments, **options)

    manifest = json.dumps({"apiVersion": "towpath.io/v1alpha1", "kind": "IPPool", **_pool(0)})
    assert "created" in (await run("apply", "-f", "-", stdin=manifest)).stdout
    assert "unchanged" in (await run("apply", "-f", "-", stdin=manifest)).stdout
    changed = manifest.replace('"cidr"', '"disabled": true, "cidr"')
    assert "configured" in (await run("apply", "-f", "-", stdin=changed)).stdout
    table = (await run("get", "pool")).stdout
    columns = [column.name.upper() for column in IP_POOL.columns if column.priority == 0]
    assert table.splitlines()[0].split() == ["NAME", *columns]
    assert "10.0.0.0/16" in table
    assert (await run("get", "towpath", "-o", "name")).stdout == "ippool.towpath.io/p0\n"
    command = [str(tools.kubectl()), "--server", server.url, "--cache-dir", str(tmp_path / "cache")]
    command += ["get", "ippools", "--watch"]
    watching = Process(command, log=tmp_path / "watch", environment={"KUBECONFIG": "/dev/null"}).start()
    try:
        await settled(lambda: watching.log.count("10.0.0.0/16") == 1, deadline=20)
        await run("annotate", "ippool", "p0", "a=b")
        await run("delete", "ippool", "p0")
        await settled(lambda: watching.log.count("10.0.0.0/16") == 3, deadline=20)
    finally:
        watching.stop()
    refused = await run("apply", "-f", "-", stdin=manifest.replace('"cidr"', '"colour": "green", "cidr"'), check=False)
    assert 'unknown field "spec.colour"' in refused.stderr
    refused = await run("apply", "-f", "-", stdin=manifest.replace("10.0.0.0/16", "10.0.0.0/33"), check=False)
    assert "is invalid: spec.cidr" in refused.stderr
    assert (await api.list("IPPool")).items == ()

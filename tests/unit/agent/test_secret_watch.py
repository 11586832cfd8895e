"""Secrets as a watch shows them: known at once, only those that are named, and asked for where there is no watch."""

import asyncio
import base64
import contextlib

import pytest

from towpath.controller.kube.watch import Reflector, Retry
from towpath.controller.ports import ForbiddenError
from towpath.controller.secret_watch import OF_INTEREST, WatchedSecrets
from towpath.controller.secrets import Passwords
from towpath.lab.fake_api import FakeApi
from towpath.model.kinds.bgp import SecretKey
from towpath.model.secret import Secret

TOR, MESH = SecretKey(name="tor", key="password"), SecretKey(name="mesh", key="password")
NS = "towpath-system"


def secret(name, password, **fields):
    data = {"password": base64.b64encode(password).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data, **fields}


class NoWatch(FakeApi):
    """Reading by name is allowed, listing and watching is not."""

    async def list(self, kind, **_):
        raise ForbiddenError(f"list {kind}: no", status=403)


class Agent:
    """What an agent does with its passwords: a change makes it look again."""

    def __init__(self, api):
        self.api, self.changes = api, 0
        self.watched = WatchedSecrets(changed=self._changed)
        self.passwords = Passwords(api, namespace=NS, file=None, watched=self.watched)

    def _changed(self):
        self.changes += 1

    @contextlib.asynccontextmanager
    async def following(self):
        retry = Retry(first=0.01, longest_refused=0.02)
        reflector = Reflector(
            self.api, self.watched, kind="Secret", namespace=NS, field_selector=OF_INTEREST, retry=retry
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, wanted):
        async with asyncio.timeout(5):
            while True:
                await self.passwords.refresh({TOR, MESH})
                if self.passwords.held == wanted:
                    return
                await asyncio.sleep(0.01)

    def gets(self):
        return sum(call.verb == "get" for call in self.api.calls)


@pytest.fixture
async def agent():
    api = FakeApi()
    await api.create("Secret", secret("tor", b"one"), namespace=NS)
    return Agent(api)


async def test_a_change_is_known_without_asking(agent):
    """Rotated, deleted, created anew: the watch tells of each, and nobody is asked."""
    async with agent.following():
        await agent.until({TOR: Secret(b"one")})
        await asyncio.sleep(0.05)
        await agent.passwords.refresh({TOR, MESH})
        asked, changes = agent.gets(), agent.changes
        await agent.api.patch("Secret", "tor", {"data": secret("", b"two")["data"]}, namespace=NS)
        await agent.until({TOR: Secret(b"two")})
        assert agent.changes == changes + 1
        await agent.api.delete("Secret", "tor", namespace=NS)
        async with asyncio.timeout(5):
            while TOR not in agent.passwords.missing:
                await agent.passwords.refresh({TOR, MESH})
                await asyncio.sleep(0.01)
        await agent.api.create("Secret", secret("mesh", b"three"), namespace=NS)
        await agent.until({TOR: Secret(b"two"), MESH: Secret(b"three")})
        assert agent.gets() == asked


async def test_others_are_neither_kept_nor_told_of(agent):
    """What no object names changes nothing and is in no memory of ours; what Helm keeps is not even listed."""
    async with agent.following():
        await agent.until({TOR: Secret(b"one")})
        changes = agent.changes
        await agent.api.create("Secret", secret("release", b"chart", type="helm.sh/release.v1"), namespace=NS)
        await agent.api.create("Secret", secret("other", b"x"), namespace=NS)
        await agent.api.create("Secret", secret("tor", b"elsewhere"), namespace="default")
        await agent.api.patch("Secret", "tor", {"data": secret("", b"two")["data"]}, namespace=NS)
        await agent.until({TOR: Secret(b"two")})
        assert agent.changes == changes + 1
        assert agent.watched.get("other") is None
        assert agent.watched.get("release") is None


async def test_without_the_right_to_watch_they_are_asked_for():
    """The reading by name goes on as before; the watch is tried again and again."""
    agent = Agent(NoWatch())
    await agent.api.create("Secret", secret("tor", b"one"), namespace=NS)
    async with agent.following():
        await agent.until({TOR: Secret(b"one")})
        await agent.api.patch("Secret", "tor", {"data": secret("", b"two")["data"]}, namespace=NS)
        await agent.until({TOR: Secret(b"two")})
    assert agent.passwords.missing[MESH] == f"Secret mesh does not exist in namespace {NS}"
    assert agent.gets() > 2


async def test_an_old_state_is_no_news(agent):
    """What the watch shows late, after a newer state was read by name, does not bring the old password back."""
    old = await agent.api.get("Secret", "tor", namespace=NS)
    await agent.api.patch("Secret", "tor", {"data": secret("", b"two")["data"]}, namespace=NS)
    agent.watched.contact("Secret", connected=True)
    await agent.passwords.refresh({TOR})
    agent.watched.upserted("Secret", old)
    await agent.passwords.refresh({TOR})
    assert agent.passwords.held == {TOR: Secret(b"two")}

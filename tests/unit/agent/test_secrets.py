"""Passwords of the sessions."""

import base64
import stat
from pathlib import Path

from tests.unit.agent.worlds import FakeApi, cluster
from towpath.controller.ports import UnreachableError
from towpath.controller.secrets import Passwords, file_on_tmpfs, references
from towpath.model.kinds.bgp import SecretKey
from towpath.model.secret import Secret

TOR = SecretKey(name="tor", key="password")
CANARY = b"canary-4711"


def api_with_secret() -> FakeApi:
    api = FakeApi()
    api.put("Secret", "tor", namespace="ns", data={"password": base64.b64encode(CANARY).decode()})
    return api


def passwords(api: FakeApi | None, file: Path | None = None) -> Passwords:
    return Passwords(api, namespace="ns", file=file)


def used(_: SecretKey) -> bool:
    return True


def unused(_: SecretKey) -> bool:
    return False


def test_references_are_found() -> None:
    """Every password that an object names is asked for."""
    assert references(cluster()) == {TOR}


async def test_a_password_is_read() -> None:
    """A key of a Secret becomes a password that prints as stars."""
    one = passwords(api_with_secret())
    assert await one.refresh({TOR})
    assert one.usable(in_use=unused) == {TOR: Secret(CANARY)}
    assert one.missing == {}
    assert "canary" not in repr(one.held)


async def test_a_missing_secret_or_key_is_named() -> None:
    """The sentence says which Secret or key is missing."""
    one = passwords(api_with_secret())
    other, gone = SecretKey(name="tor", key="other"), SecretKey(name="gone", key="x")
    await one.refresh({TOR, other, gone})
    assert one.missing[other] == "Secret tor has no key other"
    assert one.missing[gone] == "Secret gone does not exist in namespace ns"
    assert set(one.held) == {TOR}


async def test_a_deleted_secret_stays_with_the_session_that_is_up() -> None:
    """A vanished password is reported, serves the session that runs with it, and no new one."""
    api = api_with_secret()
    one = passwords(api)
    await one.refresh({TOR})
    api.objects.clear()
    await one.refresh({TOR})
    assert TOR in one.missing
    assert one.usable(in_use=used) == {TOR: Secret(CANARY)}
    assert one.usable(in_use=unused) == {}


async def test_an_api_server_that_is_away_changes_nothing() -> None:
    """Passwords are kept while nobody can be asked, and the refresh says that it must come again."""
    api = api_with_secret()
    one = passwords(api)
    await one.refresh({TOR})
    api.failure = UnreachableError("no answer")
    assert not await one.refresh({TOR})
    assert one.usable(in_use=unused) == {TOR: Secret(CANARY)}
    assert one.missing == {}


async def test_a_restart_without_api_server_finds_them(tmp_path: Path) -> None:
    """A fresh process has the passwords of the last one from a file that only its owner reads."""
    file = tmp_path / "secrets"
    await passwords(api_with_secret(), file).refresh({TOR})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    fresh = passwords(None, file)
    fresh.recall()
    await fresh.refresh({TOR})
    assert fresh.usable(in_use=unused) == {TOR: Secret(CANARY)}
    file.write_bytes(b"\xc1 rubbish")
    damaged = passwords(None, file)
    damaged.recall()
    assert damaged.held == {}


async def test_a_password_that_nobody_names_is_forgotten(tmp_path: Path) -> None:
    """What no object names any more is in no memory and no file of ours."""
    file = tmp_path / "secrets"
    one = passwords(api_with_secret(), file)
    await one.refresh({TOR})
    await one.refresh(())
    assert one.held == {}
    assert not file.exists()


async def test_a_bad_password_is_a_missing_one() -> None:
    """Broken base64, an empty password and one the kernel cannot take are named, not used."""
    api = FakeApi()
    api.put("Secret", "bad", namespace="ns", data={"b64": "%%%", "empty": "", "kind": 7}, stringData={"long": "x" * 81})
    one = passwords(api)
    keys = [SecretKey(name="bad", key=key) for key in ("b64", "empty", "kind", "long")]
    await one.refresh(keys)
    assert set(one.missing) == set(keys)
    assert one.held == {}


def test_a_disk_is_told_from_tmpfs(tmp_path: Path) -> None:
    """The innermost mount decides whether passwords may be written."""
    root = "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
    disk = root + f"2 1 0:5 / {tmp_path} rw - ext4 none rw"
    memory = root + f"2 1 0:5 / {tmp_path} rw shared:1 - tmpfs none rw"
    assert file_on_tmpfs(tmp_path / "secrets", mounts=memory) == tmp_path / "secrets"
    assert file_on_tmpfs(tmp_path / "secrets", mounts=disk) is None
    assert file_on_tmpfs(Path("/etc/secrets"), mounts=memory) is None

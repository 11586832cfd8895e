"""``towpath plan --tor``: the configuration of the router that the nodes peer with."""

from pathlib import Path

import pytest

from towpath.controller.cli import main
from towpath.controller.offline import MAKES
from towpath.controller.plan.tor import command

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / "golden" / "tor"
SAMPLE = HERE / "tor.yaml"
ENDINGS = {"gobgp": "toml", "junos": "set"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    code = main(["plan", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("make", MAKES)
def test_the_configuration_of_each_make_is_what_it_was(make: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A golden file a make. The four that the tests have are loaded by the routers themselves (tests/netns/interop)."""
    code, out, _ = run(capsys, "-f", str(SAMPLE), "--tor", make)
    assert code == 0
    assert out == (GOLDEN / f"{make}.{ENDINGS.get(make, 'conf')}").read_text()
    assert "never-printed" not in out
    assert "PASSWORD-tor-password" in out


def test_every_make_can_be_asked_for() -> None:
    """The command line and the renderers know the same makes."""
    assert set(MAKES) == set(command.MAKES)


def test_two_ends_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """What a session of the plan says, its other end says too: hold time, TTL security, the port that a node listens on."""
    _, out, _ = run(capsys, "-f", str(SAMPLE), "--tor", "frr")
    assert "neighbor 10.9.1.1 timers 10 30" in out
    assert "neighbor fd09:1::1 ttl-security hops 1" in out
    assert "neighbor 10.9.1.3 port 1790" in out
    assert "10.245.0.0" not in out, "nothing of a pool with disableBGPExport is announced"
    assert "permit 10.251.0.0/26\n" in out, "a block outside of every pool is"


def test_which_router(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of several addresses of a family somebody must say which are one router; usage errors otherwise."""
    other = tmp_path / "other.yaml"
    peer = "---\napiVersion: towpath.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: other}\nspec: "
    other.write_text(SAMPLE.read_text() + peer + "{peerIP: 10.9.1.9, asNumber: 65009}\n")
    code, out, err = run(capsys, "-f", str(other), "--tor", "bird")
    assert (code, out) == (2, "")
    assert "10.9.1.2, 10.9.1.9, fd09:1::2" in err
    code, out, _ = run(capsys, "-f", str(other), "--tor", "bird", "--peer", "10.9.1.9")
    assert code == 0
    assert "local 10.9.1.9 as 65009" in out
    code, _, err = run(capsys, "-f", str(other), "--tor", "bird", "--peer", "10.9.1.9", "10.9.1.2")
    assert code == 2
    assert "65000, 65009" in err
    for peers, said in ((["10.9.1.77"], "no node peers with 10.9.1.77"), (["tor"], "'tor' is no peer address")):
        code, _, err = run(capsys, "-f", str(other), "--tor", "bird", "--peer", *peers)
        assert code == 2
        assert said in err
    assert run(capsys, "-f", str(SAMPLE), "--tor", "bird", "--node", "z")[0] == 2
    assert run(capsys, "-f", str(SAMPLE), "--peer", "10.9.1.2")[0] == 2


def test_nodes_of_one_as_without_a_mesh_are_told_what_that_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """The router passes on their blocks, and they refuse them: their own AS is in the path. The file says what helps."""
    _, out, _ = run(capsys, "-f", str(SAMPLE), "--tor", "eos")
    assert "! NOTE: nodes of one AS refuse" in out
    _, out, _ = run(capsys, "-f", str(SAMPLE), "--tor", "junos", "--peer", "fd09:1::2")
    assert "NOTE" not in out
    assert "neighbor fd09:1::1 advertise-peer-as" in out


def test_a_mesh_needs_nothing_of_the_router(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With a mesh nodes are told the default route alone, since their filter names it."""
    meshed = tmp_path / "mesh.yaml"
    meshed.write_text(SAMPLE.read_text().replace("nodeToNodeMeshEnabled: false", "nodeToNodeMeshEnabled: true"))
    _, out, _ = run(capsys, "-f", str(meshed), "--tor", "openbgpd")
    told = out[out.index("prefix-set to-nodes {") :].partition("}")[0]
    assert told.split() == ["prefix-set", "to-nodes", "{", "0.0.0.0/0", "::/0"]

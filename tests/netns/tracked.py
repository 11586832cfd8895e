"""Which VXLAN packets a node's kernel tracks, counted by a table beside ours."""

import re

from towpath.lab.netns import Host

_TABLE = "seen"
_SEEN = """
table inet seen {
  counter in_tracked {}
  counter in_untracked {}
  counter out_tracked {}
  counter out_untracked {}
  chain in {
    type filter hook input priority 20
    udp dport 4789 ct state untracked counter name in_untracked accept
    udp dport 4789 counter name in_tracked
  }
  chain out {
    type filter hook output priority 20
    udp dport 4789 ct state untracked counter name out_untracked accept
    udp dport 4789 counter name out_tracked
  }
}
"""
"""After all that decides what arrives."""


def watch(node: Host) -> None:
    """Count from now on."""
    node.run("nft", "-f", "-", stdin=_SEEN)


def unwatch(node: Host) -> None:
    """Leave the node as it was."""
    node.run("nft", "delete", "table", "inet", _TABLE)


def counts(node: Host) -> dict[str, int]:
    """Packets, as far as there are any: ``in_tracked``, ``in_untracked``, ``out_tracked``, ``out_untracked``."""
    said = node.run("nft", "list", "counters", "table", "inet", _TABLE)
    found = re.findall(r"counter (\w+) \{\s+packets (\d+)", said)
    return {name: int(packets) for name, packets in found if packets != "0"}

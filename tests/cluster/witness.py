"""Who calls the CNI plugins of a node, and how: a program in place of ptp that writes down each call and becomes ptp."""

from collections import Counter
from pathlib import Path

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import compiled
from towpath.lab.cluster.machine import Machine

_CALLS = "/run/cni-calls"
# The configuration comes by standard input: read, and given on by a file in memory.
_PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words) {
  (void)count;
  static char text[1 << 20], self[4096];
  size_t length = 0;
  ssize_t more;
  while ((more = read(0, text + length, sizeof text - 1 - length)) > 0) length += more;
  int again = memfd_create("configuration", 0);
  if (again < 0 || write(again, text, length) != (ssize_t)length || lseek(again, 0, SEEK_SET) || dup2(again, 0)) return 1;
  const char key[] = "\"cniVersion\":\"", *command = getenv("CNI_COMMAND");
  char *at = strstr(text, key), version[16] = "-";
  if (at) sscanf(at + sizeof key - 1, "%15[0-9.]", version);
  int calls = open("@CALLS@", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (calls >= 0) dprintf(calls, "%s %s\n", command ? command : "-", version);
  if (readlink("/proc/self/exe", self, sizeof self - 8) < 0) return 1;
  execv(strcat(self, ".real"), words);
  return 1;
}
""".replace("@CALLS@", _CALLS)


def place(cluster: Cluster, scratch: Path) -> None:
    """Put it in ptp's place on every node, before a configuration is there; ``scratch`` is a folder for making it."""
    made = compiled(_PROGRAM, scratch / "witness").read_bytes()
    for name in cluster.nodes:
        plugin = cluster.machine(name).disk / "opt" / "cni" / "bin" / "ptp"
        plugin.rename(plugin.with_name("ptp.real"))
        plugin.write_bytes(made)
        plugin.chmod(0o755)


def calls(machine: Machine) -> Counter[tuple[str, str]]:
    """How often each command was called, by the CNI version that was asked for."""
    path = machine.path(_CALLS.lstrip("/"))
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter((command, version) for command, version in map(str.split, lines))

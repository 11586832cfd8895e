"""The lab's own container images, made without an engine: a static program or two in a docker-archive."""

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path

from towpath.lab.process import run

PAUSE = "lab.towpath.io/pause:1"
BUSYBOX = "lab.towpath.io/busybox:1"
_BUSYBOX = Path("/bin/busybox")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The first process of a pod and of a node: what has ended is taken away, SIGTERM ends it where it may.
_PAUSE = """
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) { (void)number; _exit(0); }

int main(void) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  for (;;) {
    while (waitpid(-1, 0, 0) > 0) { }
    if (errno == ECHILD) usleep(100000);
  }
}
"""
# A client for web servers: a static busybox's own dies in the resolver, for which there is no resolver's library.
_ASK = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count != 3) { fprintf(stderr, "usage: ask ADDRESS PORT\n"); return 2; }
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(words[2]))};
  int is_six = inet_pton(AF_INET6, words[1], &six.sin6_addr) == 1;
  if (!is_six && inet_pton(AF_INET, words[1], &four.sin_addr) != 1) { fprintf(stderr, "no address\n"); return 2; }
  int file = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  struct timeval patience = {.tv_sec = 5};
  setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(file, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four)) { perror("connect"); return 1; }
  const char question[] = "GET / HTTP/1.0\r\n\r\n";
  if (write(file, question, sizeof question - 1) < 0) { perror("write"); return 1; }
  static char answer[65536];
  size_t length = 0;
  ssize_t more;
  while ((more = read(file, answer + length, sizeof answer - 1 - length)) > 0) length += more;
  char *body = strstr(answer, "\r\n\r\n");
  if (more < 0 || !body) { fprintf(stderr, "no answer\n"); return 1; }
  fputs(body + 4, stdout);
  return 0;
}
"""


def make_pause(target: Path) -> Path:
    """Compile a program that waits and takes away what has ended; static."""
    return compiled(_PAUSE, target)


def compiled(source: str, target: Path) -> Path:
    """A static program of this text in C."""
    run("gcc", "-O2", "-static", "-o", str(target), "-x", "c", "-", stdin=source)
    return target


def pause_image(program: Path, target: Path) -> Path:
    """The image of a pod's sandbox."""
    return archive(PAUSE, {"pause": program}, links={}, command=("/pause",), target=target)


def busybox_image(target: Path) -> Path:
    """A shell and its tools, from the distribution's static busybox; ``ask ADDRESS PORT`` asks a web server.

    By itself it sleeps.
    """
    applets = run(str(_BUSYBOX), "--list").split()
    links = {f"bin/{name}": "busybox" for name in applets if name != "busybox"}
    command = ("/bin/sleep", "1000000")
    ask = compiled(_ASK, target.with_name("ask"))
    return archive(BUSYBOX, {"bin/busybox": _BUSYBOX, "bin/ask": ask}, links=links, command=command, target=target)


def archive(
    name: str, files: Mapping[str, Path], *, links: Mapping[str, str], command: tuple[str, ...], target: Path
) -> Path:
    """Write a docker-archive with one layer: ``files`` by their path in it, symbolic ``links``, what it runs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in ("bin", "tmp", "etc", "var", "run"):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755))
        for path, source in files.items():
            content = source.read_bytes()
            entry = _entry(path, tarfile.REGTYPE, 0o755)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for path, to in links.items():
            entry = _entry(path, tarfile.SYMTYPE, 0o777)
            entry.linkname = to
            tar.addfile(entry)
    content = layer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    machine = platform.machine()
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "towpath lab"}],
    }
    described = json.dumps(config).encode()
    parts = {f"{hashlib.sha256(described).hexdigest()}.json": described, f"{digest}.tar": content}
    manifest = [{"Config": next(iter(parts)), "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    new = target.with_name(f".{target.name}.{os.getpid()}")
    with tarfile.open(new, "w") as tar:
        for path, data in (*parts.items(), ("manifest.json", json.dumps(manifest).encode())):
            entry = _entry(path, tarfile.REGTYPE, 0o644)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    new.rename(target)
    return target


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode = kind, mode
    return entry

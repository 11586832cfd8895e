"""The real thing: etcd and kube-apiserver, empty at first. On loopback for tests of the API, or inside a lab."""

import contextlib
import json
import random
import secrets
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from towpath.lab.certificates import Authority, trusting
from towpath.lab.process import Process, run, wait_for
from towpath.lab.tools import etcd, kube_apiserver
from towpath.model.crd import crds

_ADMIN = "system:masters"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICES = "10.96.0.0/16"
_SERVICE = "10.96.0.1"
_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}],
}
Ask = Callable[[str, str, Any], Any]
"""One request as administrator: method, path and body (or None); raises where the answer is no success."""


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now, nor will by chance: any, but none that the kernel gives by itself."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    for port in random.SystemRandom().sample(range(first_given // 2, first_given), k=first_given // 2):
        if len(found) == count:
            break
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


class Place(Struct, frozen=True):
    """Where a server lives: its folder, the address that it serves at, three ports. The commands and the way in."""

    folder: Path
    address: str
    client: int = 2379
    peer: int = 2380
    secure: int = 6443
    audited: bool = False
    """Whether every write is noted down in ``audit``."""

    @property
    def url(self) -> str:
        """Where the API is served, by TLS."""
        return f"https://{self.address}:{self.secure}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in."""
        return self.folder / "kubeconfig"

    @property
    def token(self) -> Path:
        """A file with the administrator's token alone."""
        return self.folder / "token"

    @property
    def audit(self) -> Path:
        """One JSON object a line for each write that was answered: who, from where, what, when, and the answer's status."""
        return self.folder / "audit.log"

    @property
    def authority(self) -> Authority:
        """Vouches for the server, and for clients that show a certificate of its own."""
        return Authority(self.folder / "pki")

    def certify(self) -> None:
        """Give the server a (new) certificate: its authority vouches for its address and for its names in a cluster."""
        self.authority.issue("apiserver", hosts=(*_NAMES, self.address, "127.0.0.1", _SERVICE))

    def prepare(self) -> None:
        """Write what both programs and their clients need, with a new token and a new authority."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority.make()
        self.certify()
        token = secrets.token_hex(16)
        run("openssl", "genrsa", "-out", str(self.folder / "account.key"), "2048")
        for path, text in (
            (self.folder / "tokens.csv", f"{token},admin,admin,{_ADMIN}\n"),
            (self.token, token),
            (self.kubeconfig, self._config(token)),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        (self.folder / "audit.json").write_text(json.dumps(_AUDIT))

    def etcd_command(self) -> list[str]:
        """The store; what it keeps outlives the server and itself."""
        store, peer = f"http://127.0.0.1:{self.client}", f"http://127.0.0.1:{self.peer}"
        return [
            *(str(etcd()), "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", store, "--advertise-client-urls", store),
            *(
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                f"default={peer}",
            ),
        ]

    def apiserver_command(self) -> list[str]:
        """The server."""
        key = self.folder / "account.key"
        served = self.authority.pair("apiserver")
        return [
            *(str(kube_apiserver()), f"--etcd-servers=http://127.0.0.1:{self.client}", f"--secure-port={self.secure}"),
            *(f"--bind-address={self.address}", f"--advertise-address={self.address}"),
            *(f"--tls-cert-file={served.certificate}", f"--tls-private-key-file={served.key}"),
            *(f"--client-ca-file={self.authority.certificate}", f"--token-auth-file={self.folder / 'tokens.csv'}"),
            *("--authorization-mode=RBAC", "--endpoint-reconciler-type=none"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICES}"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *(
                (f"--audit-policy-file={self.folder / 'audit.json'}", f"--audit-log-path={self.audit}")
                if self.audited
                else ()
            ),
        ]

    def _config(self, token: str) -> str:
        cluster = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "lab", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
                "current-context": "lab",
            }
        )


def install_crds(ask: Ask) -> None:
    """Create our CRDs and wait until the server has them in use."""
    for crd in crds():
        ask("POST", _CRDS, crd)
    names = [crd["metadata"]["name"] for crd in crds()]
    wait_for(lambda: all(_established(ask, name) for name in names), deadline=20, what="CRDs are established")
    plurals = [crd["spec"]["names"]["plural"] for crd in crds()]
    wait_for(lambda: all(_served(ask, plural) for plural in plurals), deadline=20, what="our kinds are served")


def _established(ask: Ask, name: str) -> bool:
    # null at first
    conditions = ask("GET", f"{_CRDS}/{name}", None).get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _served(ask: Ask, plural: str) -> bool:
    try:
        ask("GET", f"/apis/towpath.io/v1alpha1/{plural}", None)
    except (OSError, RuntimeError):
        return False
    return True


class RealKubernetes:
    """A kube-apiserver with its etcd on loopback, in a folder of its own, both gone when the context closes.

    ``kubeconfig`` is the way in; ``install_crds`` makes it know our kinds.
    """

    def __init__(self) -> None:
        self.place = Place(Path(), "127.0.0.1")
        self.etcd: Process
        self.apiserver: Process

    def __enter__(self) -> Self:
        client, peer, secure = free_ports(3)
        folder = Path(tempfile.mkdtemp(prefix="towpath-kubernetes-"))
        self.place = Place(folder, "127.0.0.1", client=client, peer=peer, secure=secure)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the API is served."""
        return self.place.url

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in."""
        return self.place.kubeconfig

    def close(self) -> None:
        """End both programs and remove their folder."""
        for name in ("apiserver", "etcd"):
            process: Process | None = getattr(self, name, None)
            if process is not None:
                process.kill()
        shutil.rmtree(self.place.folder, ignore_errors=True)

    def install_crds(self) -> None:
        """Create our CRDs and wait until the server has them in use."""
        install_crds(lambda method, path, body: self.request(method, path, body=body))

    def request(self, method: str, path: str, *, body: Any = None) -> Any:
        """One request as administrator; the answer parsed."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.place.token.read_text()}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        context = trusting(self.place.authority.certificate)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content.startswith(b"{") else content.decode()

    def forget(self) -> None:
        """Compact the store, and start the server anew, which remembers more than the store: older versions are gone."""
        made = self._etcd("range", {"key": "AA=="})
        self._etcd("compaction", {"revision": made["header"]["revision"], "physical": True})
        self.apiserver.kill()
        self.apiserver.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the server answers, and has all that it makes itself at its start."""
        wait_for(self._ready, deadline=60, what="the API server is ready", interval=0.1)

    def _etcd(self, what: str, body: Any) -> Any:
        """A request to the store: its JSON gateway."""
        url = f"http://127.0.0.1:{self.place.client}/v3/kv/{what}"
        with urllib.request.urlopen(urllib.request.Request(url, data=json.dumps(body).encode()), timeout=10) as answer:
            return json.load(answer)

    def _start(self) -> None:
        place = self.place
        place.prepare()
        self.etcd = Process(place.etcd_command(), log=place.folder / "etcd.log").start()
        self.apiserver = Process(place.apiserver_command(), log=place.folder / "apiserver.log").start()
        self.wait_ready()

    def _ready(self) -> bool:
        if not self.apiserver.running or not self.etcd.running:
            raise RuntimeError(f"it ended:\n{self.etcd.log[-1500:]}\n{self.apiserver.log[-3000:]}")
        try:
            return bool(self.request("GET", "/readyz") == "ok")
        except (OSError, urllib.error.HTTPError):
            return False

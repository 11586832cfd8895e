"""The real thing: etcd and kube-apiserver on loopback, empty at every start, gone when the context closes."""

import json
import secrets
import shutil
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from towpath.lab.process import Process, run, wait_for
from towpath.lab.tools import etcd, kube_apiserver
from towpath.model.crd import crds

_ADMIN = "system:masters"


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class RealKubernetes:
    """A kube-apiserver with its etcd. ``kubeconfig`` is the way in; ``install_crds`` makes it know our kinds."""

    def __init__(self, *, address: str = "127.0.0.1", netns: str | None = None) -> None:
        self.address = address
        self._netns = netns
        self.folder = Path()
        self.kubeconfig = Path()
        self.url = ""
        self._token = ""
        self.etcd: Process
        self.apiserver: Process

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="towpath-kubernetes-"))
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both programs and remove their folder."""
        for name in ("apiserver", "etcd"):
            process: Process | None = getattr(self, name, None)
            if process is not None:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def install_crds(self) -> None:
        """Create our CRDs and wait until the server has them in use."""
        for crd in crds():
            self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=crd)
        names = [crd["metadata"]["name"] for crd in crds()]
        wait_for(lambda: all(self._established(name) for name in names), deadline=20, what="CRDs are established")
        plurals = [crd["spec"]["names"]["plural"] for crd in crds()]
        wait_for(lambda: all(self._served(plural) for plural in plurals), deadline=20, what="our kinds are served")

    def request(self, method: str, path: str, *, body: Any = None) -> Any:
        """One request as administrator; the answer parsed."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content.startswith(b"{") else content.decode()

    def _established(self, name: str) -> bool:
        crd = self.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        conditions = crd.get("status", {}).get("conditions", [])
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def _served(self, plural: str) -> bool:
        try:
            self.request("GET", f"/apis/towpath.io/v1alpha1/{plural}")
        except urllib.error.HTTPError:
            return False
        return True

    def _start(self) -> None:
        client, peer, secure = free_ports(3)
        folder = self.folder
        self.url = f"https://{self.address}:{secure}"
        self._token = secrets.token_hex(16)
        store = f"http://127.0.0.1:{client}"
        self.etcd = Process(
            [
                *(str(etcd()), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
                *("--listen-client-urls", store, "--advertise-client-urls", store),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                *("--initial-cluster", f"default=http://127.0.0.1:{peer}"),
            ],
            log=folder / "etcd.log",
            netns=self._netns,
        ).start()
        run("openssl", "genrsa", "-out", str(folder / "account.key"), "2048")
        tokens = folder / "tokens.csv"
        tokens.write_text(f"{self._token},admin,admin,{_ADMIN}\n")
        tokens.chmod(0o600)
        self.apiserver = Process(
            [
                *(str(kube_apiserver()), f"--etcd-servers={store}", f"--secure-port={secure}"),
                *(f"--bind-address={self.address}", f"--advertise-address={self.address}"),
                *(f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={tokens}", "--authorization-mode=RBAC"),
                *("--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16"),
                f"--service-account-key-file={folder / 'account.key'}",
                f"--service-account-signing-key-file={folder / 'account.key'}",
                "--endpoint-reconciler-type=none",
            ],
            log=folder / "apiserver.log",
            netns=self._netns,
        ).start()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(self._config())
        self.kubeconfig.chmod(0o600)
        wait_for(self._ready, deadline=60, what="the API server is ready", interval=0.1)

    def _ready(self) -> bool:
        if not self.apiserver.running or not self.etcd.running:
            raise RuntimeError(f"it ended:\n{self.etcd.log[-1500:]}\n{self.apiserver.log[-3000:]}")
        try:
            return bool(self.request("GET", "/readyz") == "ok")
        except (OSError, urllib.error.HTTPError):
            return False

    def _config(self) -> str:
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "lab", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": self._token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
                "current-context": "lab",
            }
        )

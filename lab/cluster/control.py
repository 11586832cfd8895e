"""The control plane: etcd, API server, controller manager and scheduler, as kubeadm would configure them.

Everyone who asks the API server shows a certificate of the cluster's authority and verifies the server's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from towpath.lab.addressing import PODS
from towpath.lab.certificates import Authority
from towpath.lab.cluster import waysin
from towpath.lab.cluster.shape import CONTROL, CONTROL_HOST, POD_MASK, SECURE, SERVICES, Shape, service_address
from towpath.lab.kubernetes import Place
from towpath.lab.process import run
from towpath.lab.tools import kubernetes
from towpath.model.net import Address

PROGRAMS = ("api/etcd", "api/server", "api/controller-manager", "api/scheduler")
_KUBELETS = "kube-apiserver-kubelet-client"
_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


class Control:
    """Files and commands; all programs run in the namespace ``api``.

    ``outside`` is the address for a person's shell, ``context`` the cluster's name in kubeconfigs.
    """

    def __init__(self, folder: Path, *, shape: Shape, outside: Address, context: str) -> None:
        self.folder = folder
        self.shape = shape
        self.outside = outside
        self.context = context
        self.place = Place(folder, str(self.address))

    @property
    def authority(self) -> Authority:
        """Vouches for everyone in the cluster."""
        return self.place.authority

    @property
    def account_key(self) -> Path:
        """Signs the tokens of service accounts."""
        return self.folder / "account.key"

    @property
    def address(self) -> Address:
        """Where nodes and pods find the API server."""
        return CONTROL.address(self.shape.families[0], CONTROL_HOST)

    @property
    def server(self) -> str:
        """The same as a URL."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"https://{host}:{SECURE}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in, from this machine's own namespace."""
        return self.folder.parent / "kubeconfig"

    def prepare(self) -> None:
        """Make the authority, certificates and ways in."""
        self.folder.mkdir(parents=True)
        authority = self.authority
        authority.make()
        run("openssl", "genrsa", "-out", str(self.account_key), "2048")
        addresses = [CONTROL.address(family, CONTROL_HOST) for family in self.shape.families]
        addresses += [service_address(family) for family in self.shape.families]
        authority.issue("server", subject="kube-apiserver", hosts=(*_NAMES, *map(str, (*addresses, self.outside))))
        authority.issue("kubelets", subject=_KUBELETS, groups=("system:masters",))
        ways = (
            (self.kubeconfig, f"https://{self.outside}:{SECURE}", "admin", ("system:masters",)),
            (self.own("controller-manager"), self.server, "system:kube-controller-manager", ()),
            (self.own("scheduler"), self.server, "system:kube-scheduler", ()),
        )
        for path, server, user, groups in ways:
            name = user.replace(":", "-")
            waysin.write(path, authority, name=name, server=server, user=user, groups=groups, context=self.context)

    def own(self, name: str) -> Path:
        """The way in of a program of the control plane."""
        return self.folder / f"{name}.conf"

    def commands(self) -> Mapping[str, Sequence[str]]:
        """What runs, by name."""
        return dict(zip(PROGRAMS, (self._etcd(), self._server(), self._controllers(), self._scheduler()), strict=True))

    def _etcd(self) -> list[str]:
        return self.place.etcd_command()

    def _server(self) -> list[str]:
        pki = self.authority.folder
        authority, account = self.authority.certificate, self.account_key
        return [
            *(str(kubernetes("kube-apiserver")[0]), f"--etcd-servers=http://127.0.0.1:{self.place.client}"),
            *(f"--secure-port={SECURE}", "--bind-address=::", f"--advertise-address={self.address}"),
            *(f"--client-ca-file={authority}", f"--tls-cert-file={pki}/server.crt"),
            *(f"--tls-private-key-file={pki}/server.key", "--allow-privileged=true"),
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *("--service-account-issuer=https://kubernetes.default.svc.cluster.local",),
            *(f"--service-account-key-file={account}", f"--service-account-signing-key-file={account}"),
            f"--service-cluster-ip-range={self._services()}",
            *(f"--requestheader-client-ca-file={authority}", "--requestheader-allowed-names=front-proxy-client"),
            *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            *(f"--kubelet-certificate-authority={authority}", f"--kubelet-client-certificate={pki}/kubelets.crt"),
            *(f"--kubelet-client-key={pki}/kubelets.key", "--kubelet-preferred-address-types=InternalIP"),
        ]

    def _controllers(self) -> list[str]:
        pki, account = self.authority, self.account_key
        own = self.own("controller-manager")
        return [
            *(str(kubernetes("kube-controller-manager")[0]), f"--kubeconfig={own}", "--leader-elect=false"),
            *(f"--authentication-kubeconfig={own}", f"--authorization-kubeconfig={own}", "--bind-address=127.0.0.1"),
            *(f"--root-ca-file={pki.certificate}", f"--service-account-private-key-file={account}"),
            *(f"--cluster-signing-cert-file={pki.certificate}", f"--cluster-signing-key-file={pki.key}"),
            *("--use-service-account-credentials=true", "--controllers=*"),
            *(self._pod_cidrs() if self.shape.pod_cidrs else ("--allocate-node-cidrs=false",)),
        ]

    def _pod_cidrs(self) -> list[str]:
        families = self.shape.families
        one = families[0]
        masks = (
            [f"--node-cidr-mask-size-ipv{family.value}={POD_MASK[family]}" for family in families]
            if len(families) > 1
            else [f"--node-cidr-mask-size={POD_MASK[one]}"]
        )
        pods = ",".join(str(PODS[family]) for family in families)
        return [
            *("--allocate-node-cidrs=true", f"--cluster-cidr={pods}", *masks),
            f"--service-cluster-ip-range={self._services()}",
        ]

    def _scheduler(self) -> list[str]:
        own = self.own("scheduler")
        return [
            *(str(kubernetes("kube-scheduler")[0]), f"--kubeconfig={own}", "--leader-elect=false"),
            *(f"--authentication-kubeconfig={own}", f"--authorization-kubeconfig={own}", "--bind-address=127.0.0.1"),
        ]

    def _services(self) -> str:
        return ",".join(str(SERVICES[family]) for family in self.shape.families)

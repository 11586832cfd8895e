"""A certificate authority of a lab's own, made by openssl: who trusts it can tell the lab's servers from others."""

import ssl
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from towpath.lab.process import run

_DAYS = "30"
_EXTENSIONS = {
    "authority": (
        "basicConstraints = critical, CA:TRUE",
        "keyUsage = critical, keyCertSign, cRLSign",
        "subjectKeyIdentifier = hash",
    ),
    "issued": (
        "basicConstraints = critical, CA:FALSE",
        "keyUsage = critical, digitalSignature",
        "extendedKeyUsage = serverAuth, clientAuth",
        "subjectKeyIdentifier = hash",
        "authorityKeyIdentifier = keyid",
    ),
}


class Pair(Struct, frozen=True):
    """A certificate and its private key, PEM files."""

    certificate: Path
    key: Path


class Authority(Struct, frozen=True):
    """A certificate authority in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What clients are told to trust."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        """What signs."""
        return self.folder / "ca.key"

    def make(self, name: str = "towpath-lab") -> None:
        """Make it, or make it anew: what the one before has issued is trusted by nobody who trusts this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # a key identifier of its own and not the name tells it from the one before
        self._openssl(name, Pair(self.certificate, self.key), kind="authority")

    def pair(self, name: str) -> Pair:
        """The files of what was issued under this name."""
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def issue(self, name: str, *, subject: str = "", groups: Iterable[str] = (), hosts: Iterable[str] = ()) -> Pair:
        """A certificate for a server called ``hosts`` (names and addresses) or a client called ``subject`` in ``groups``.

        One under the same ``name`` is replaced, each of the two files at once.
        """
        pair = self.pair(name)
        self._openssl(subject or name, pair, kind="issued", groups=tuple(groups), hosts=tuple(hosts))
        return pair

    def _openssl(
        self, subject: str, pair: Pair, *, kind: str, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()
    ) -> None:
        extensions = [
            *_EXTENSIONS[kind],
            *([f"subjectAltName = {','.join(map(_alternative, hosts))}"] if hosts else []),
        ]
        names = [*(f"{index}.O = {group}" for index, group in enumerate(groups)), f"CN = {subject}"]
        # of our own: a distribution's openssl.cnf adds extensions that contradict these
        settings = pair.key.with_suffix(".cnf")
        lines = ("[req]", "prompt = no", "distinguished_name = names", "[names]", *names, "[extensions]", *extensions)
        settings.write_text("\n".join(lines) + "\n")
        signer = ("-CA", str(self.certificate), "-CAkey", str(self.key)) if kind == "issued" else ()
        new = Pair(pair.certificate.with_suffix(".crt.new"), pair.key.with_suffix(".key.new"))
        run(
            *(
                "openssl",
                "req",
                "-x509",
                "-config",
                str(settings),
                "-extensions",
                "extensions",
                "-days",
                _DAYS,
                *signer,
            ),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(new.key), "-out", str(new.certificate)),
        )
        new.key.rename(pair.key)
        new.certificate.rename(pair.certificate)
        settings.unlink()


def trusting(authority: Path) -> ssl.SSLContext:
    """TLS to servers that the authority with this certificate vouches for."""
    return ssl.create_default_context(cafile=str(authority))


def _alternative(host: str) -> str:
    try:
        return f"IP:{ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"

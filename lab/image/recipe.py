"""What goes into the image: the one place that says so.

``Containerfile`` runs this same recipe and repeats only what a final stage has to say itself (user, entry point, labels,
environment); a test holds the two together.
"""

import platform as host
import tomllib
from pathlib import Path

import msgspec

from towpath.lab.golang import ToolError

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = "bookworm"
PYTHON = "3.11"
PROGRAMS = ("usr/bin/python3.11", "usr/sbin/nft")
"""All that may be run, our own command and the CNI plugins apart."""

DEBIAN = ("base-files", "nftables", f"python{PYTHON}")
"""Debian packages; what they depend on comes with them."""
ONLY_FOR_SCRIPTS = ("dpkg", "libacl1", "libpcre2-8-0", "libselinux1", "libzstd1", "mawk", "readline-common", "tar")
"""Dependencies that only maintainer scripts run, and what only those need: no script runs here."""

PLUGINS = (
    *(
        "bandwidth",
        "bridge",
        "firewall",
        "host-device",
        "host-local",
        "ipvlan",
        "loopback",
        "macvlan",
        "portmap",
        "ptp",
    ),
    "tuning",
)
"""Programs of the CNI project, copied to nodes that lack them."""

LIBRARY = f"usr/lib/python{PYTHON}"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
PLUGIN_FOLDER = "opt/cni/bin"
SBOM = "usr/share/towpath/sbom.spdx.json"

SYSTEM_KEEPS = (
    *("etc/debian_version", "etc/os-release", "etc/ld.so.conf*", "etc/mime.types"),
    *("usr/lib/*", "usr/lib64/*", "usr/share/common-licenses/*", "usr/share/doc/*/copyright", *PROGRAMS),
)
"""Paths, as patterns (a star stands for slashes too), that are taken over from the Debian packages; nothing else is."""
SYSTEM_LEAVES_OUT = (
    *(
        "usr/lib/*/gconv/*",
        "usr/lib/*/audit/*",
        "usr/lib/*.a",
        "usr/lib/mime/*",
        "usr/lib/systemd/*",
        "usr/lib/tmpfiles.d/*",
    ),
    *(
        "usr/lib/init/*",
        "usr/lib/valgrind/*",
        "usr/lib/dpkg/*",
        "usr/lib/gcc/*",
        "usr/lib/binfmt.d/*",
        "usr/lib/python3/*",
    ),
    # of Python: what tests, teaches, draws, or installs other things
    *(f"{LIBRARY}/{name}/*" for name in ("ensurepip", "lib2to3", "pydoc_data", "test", "turtledemo", "venv")),
    *(f"{LIBRARY}/{name}/*" for name in ("idlelib", "tkinter", "distutils", "unittest/test", "__phello__")),
    *(f"{LIBRARY}/{name}.py" for name in ("antigravity", "this", "turtle", "_distutils_system_mod", "sitecustomize")),
)
"""Of these, what is left out again."""

LIBRARIES_LEAVE_OUT = (
    *("bin", "etc", "share"),
    "*/tests",
    "*/*/tests",
    "*/*.pyx",
    "*/*.pxd",
    "*/*.c",
    # of the Kubernetes client only credentials are used; the classes of the API's objects are loaded by name, at need
    *(f"kubernetes/{flavour}client/{part}/[a-z]*.py" for flavour in ("", "aio/") for part in ("api", "apis", "models")),
)
"""Paths, as patterns, that are taken out of the wheels; their lists of files are shortened accordingly."""
TOWPATH_LEAVES_OUT = ("bin", "towpath/lab")

USER = 65532
"""Who runs unless the pod says otherwise: the controller. Agent and speaker are given user 0 and single capabilities."""
ENTRYPOINT = ("/usr/local/bin/towpath",)
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin"}
NAME = "towpath.io/towpath"


class Platform(msgspec.Struct, frozen=True):
    """A processor architecture, in the words of everyone who names it."""

    architecture: str
    """Of Debian, Go and OCI."""
    machine: str
    """Of the kernel and of wheels."""
    loader: str
    """The dynamic loader's path in the image."""

    @property
    def libraries(self) -> str:
        """Debian's folder of shared libraries in the image."""
        return f"usr/lib/{self.machine}-linux-gnu"

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags of wheels that run on Debian 12 (glibc 2.36), best first."""
        return (
            *(f"manylinux_2_{minor}_{self.machine}" for minor in range(36, 4, -1)),
            *(f"{name}_{self.machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")),
        )


PLATFORMS = {
    "amd64": Platform("amd64", "x86_64", "usr/lib64/ld-linux-x86-64.so.2"),
    "arm64": Platform("arm64", "aarch64", "usr/lib/ld-linux-aarch64.so.1"),
}


def native() -> Platform:
    """The platform of this machine."""
    for one in PLATFORMS.values():
        if one.machine == host.machine():
            return one
    raise ToolError(f"there is no image for {host.machine()}, only for {', '.join(sorted(PLATFORMS))}")


def version() -> str:
    """The version of towpath in this checkout."""
    return str(_project()["version"])


def labels() -> dict[str, str]:
    """The labels of the image."""
    project = _project()
    return {
        "org.opencontainers.image.title": str(project["name"]),
        "org.opencontainers.image.description": str(project["description"]),
        "org.opencontainers.image.version": version(),
        "org.opencontainers.image.licenses": str(project["license"]),
        "org.opencontainers.image.vendor": "towpath",
    }


def _project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found

"""The list of what is in the image, as SPDX 2.3 in JSON (https://spdx.github.io/spdx-spec/v2.3/)."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from towpath.lab.image.recipe import NAME, SUITE, Platform, version


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One package in the image."""

    kind: Literal["deb", "pypi", "golang", "generic"]
    name: str
    version: str
    architecture: str = ""
    sha256: str = ""
    """Of the file that it came in, in hexadecimal."""
    licence: str = ""
    """An SPDX expression, if the package gives one."""
    licence_note: str = ""
    supplier: str = ""
    home: str = ""
    source: str = ""
    """Of a Debian package: its source package."""
    parent: str = ""
    """Of a Go module: the program that it is linked into."""

    @property
    def purl(self) -> str:
        """The package URL (https://github.com/package-url/purl-spec)."""
        text = quote(self.version, safe=".-~")
        if self.kind == "deb":
            return f"pkg:deb/debian/{quote(self.name)}@{text}?arch={self.architecture}&distro={SUITE}"
        return f"pkg:{self.kind}/{self.name}@{text}"


def document(components: Sequence[Component], *, platform: Platform, epoch: int, key: str) -> bytes:
    """The whole document; ``key`` tells apart documents of the same version and other contents."""
    name = f"towpath-{version()}-{platform.architecture}"
    image = "SPDXRef-Image"
    packages = {_identifier(one): _package(one) for one in components}
    made = dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://{NAME}/sbom/{name}-{key}",
        "creationInfo": {"created": made, "creators": [f"Tool: towpath-image-{version()}"]},
        "documentDescribes": [image],
        "packages": [
            {
                "SPDXID": image,
                "name": NAME,
                "versionInfo": version(),
                "primaryPackagePurpose": "CONTAINER",
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "copyrightText": "NOASSERTION",
            },
            *(packages[identifier] for identifier in sorted(packages)),
        ],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": image},
            *(
                {"spdxElementId": image, "relationshipType": "CONTAINS", "relatedSpdxElement": identifier}
                for identifier in sorted(packages)
            ),
        ],
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _identifier(one: Component) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", f"{one.kind}-{one.name}-{one.version}")


def _package(one: Component) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": _identifier(one),
        "name": one.name,
        "versionInfo": one.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": one.licence or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": one.purl}
        ],
    }
    if one.sha256:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": one.sha256}]
    if one.licence_note:
        found["licenseComments"] = one.licence_note
    if one.supplier:
        found["supplier"] = "Organization: " + re.sub(r" <(.*)>", r" (\1)", one.supplier)
    if one.home:
        found["homepage"] = one.home
    if one.source:
        found["sourceInfo"] = f"built from the Debian source package {one.source}"
    return found

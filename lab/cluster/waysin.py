"""Ways in to the API server: kubeconfigs with a client certificate of their own and the authority to verify the server by."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from towpath.lab.certificates import Authority


def write(
    path: Path, authority: Authority, *, name: str, server: str, user: str, groups: Sequence[str] = (), context: str
) -> None:
    """Write a kubeconfig for ``user`` in ``groups``, readable by its owner alone; it needs no other file.

    ``name`` is that of the certificate among those of the authority, ``context`` that of the cluster for its reader.
    """
    pair = authority.issue(name, subject=user, groups=groups)
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": _data(authority.certificate)}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)},
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(body, indent=1))


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

"""Who we are to the API server: from a kubeconfig, from the pod's service account, or a bare address.

The ``kubernetes`` package reads kubeconfigs (certificates, tokens, exec plugins); nothing else of it is used. It is
imported only for them: it costs 20 MB. A pod's account is three files that are read whenever they are used, so that what
the kubelet replaces is known at once, whatever any clock says.
"""

import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from towpath.controller.ports import UnreachableError

Headers = dict[str, str]
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token and the authority of its API server."""


async def _anonymous() -> Headers:
    return {}


async def _nothing_new() -> bool:
    return False


class Credentials:
    """The server's base URL, the TLS context to reach it, and the headers that say who asks."""

    def __init__(
        self,
        server: str,
        *,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        headers: Callable[[], Awaitable[Headers]] = _anonymous,
        renew: Callable[[], Awaitable[bool]] = _nothing_new,
        named: str = "requests without credentials",
    ) -> None:
        self.server = server.rstrip("/")
        self.tls = tls
        """Made anew at each call, so that a replaced CA file is read."""
        self.headers = headers
        self.renew = renew
        """Read them again after a 401; whether others were found."""
        self.named = named
        """Where they are from, for an error."""

    @classmethod
    async def from_kubeconfig(cls, path: Path, *, context: str | None = None) -> Self:
        """The current (or the named) context of a kubeconfig. After a 401 the file, and what it names, is read again."""
        settings = await _read_kubeconfig(path, context)

        async def headers() -> Headers:
            try:
                found = await settings.auth_settings()
            except (OSError, ValueError) as error:
                raise UnreachableError(f"the token cannot be read: {error}") from error
            return {one["key"]: one["value"] for one in found.values() if one["in"] == "header" and one["value"]}

        async def renew() -> bool:
            nonlocal settings
            before = await headers()
            settings = await _read_kubeconfig(path, context)
            return await headers() != before

        def tls() -> ssl.SSLContext | None:
            if not settings.host.startswith("https:"):
                return None
            made = ssl.create_default_context(cafile=settings.ssl_ca_cert)
            if settings.cert_file:
                made.load_cert_chain(settings.cert_file, keyfile=settings.key_file)
            if not settings.verify_ssl:
                made.check_hostname = False
                made.verify_mode = ssl.CERT_NONE
            return made

        return cls(settings.host, tls=tls, headers=headers, renew=renew, named=f"the credentials of kubeconfig {path}")

    @classmethod
    def in_cluster(cls, folder: Path = SERVICE_ACCOUNT) -> Self:
        """The service account of this pod, in ``folder``; the server is named by the kubelet in the environment."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{what}") for what in ("HOST", "PORT"))
        if not host or not port:
            raise UnreachableError(
                "in-cluster credentials: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not in a pod?"
            )
        token, authority = folder / "token", folder / "ca.crt"

        async def headers() -> Headers:
            try:
                text = token.read_text().strip()
            except (OSError, ValueError) as error:
                raise UnreachableError(f"the token cannot be read: {error}") from error
            if not text:
                raise UnreachableError(f"the token cannot be read: {token} is empty")
            return {"Authorization": f"Bearer {text}"}

        def tls() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(authority))

        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return cls(server, tls=tls, headers=headers, named=f"the token in {token}")


async def _read_kubeconfig(path: Path, context: str | None) -> Any:
    import yaml
    from kubernetes.aio import client, config

    settings = client.Configuration()
    try:
        await config.load_kube_config(config_file=str(path), context=context, client_configuration=settings)
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise UnreachableError(f"kubeconfig {path}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        # what the package makes of a file that is YAML and no kubeconfig
        raise UnreachableError(f"kubeconfig {path}: it is none ({type(error).__name__})") from error
    return settings

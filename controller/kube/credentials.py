"""Who we are to the API server: from a kubeconfig, from the pod's service account, or a bare address.

The ``kubernetes`` package reads them (certificates, tokens and their rotation, exec plugins); nothing else of it is used.
It is imported only when it is needed: it costs 20 MB, and a bare address needs none of it.
"""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from towpath.controller.ports import UnreachableError

Headers = dict[str, str]


async def _anonymous() -> Headers:
    return {}


class Credentials:
    """The server's base URL, the TLS context to reach it, and the headers that say who asks."""

    def __init__(
        self,
        server: str,
        *,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        headers: Callable[[], Awaitable[Headers]] = _anonymous,
    ) -> None:
        self.server = server.rstrip("/")
        self.tls = tls
        """Made anew at each call, so that a replaced CA file is read."""
        self.headers = headers

    @classmethod
    async def from_kubeconfig(cls, path: Path, *, context: str | None = None) -> Self:
        """The current (or the named) context of a kubeconfig."""
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
        return cls._from_settings(settings)

    @classmethod
    def in_cluster(cls) -> Self:
        """The service account of this pod; its token is read again every minute."""
        from kubernetes.aio import client, config

        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise UnreachableError(f"in-cluster credentials: {error}") from error
        return cls._from_settings(settings)

    @classmethod
    def _from_settings(cls, settings: Any) -> Self:
        async def headers() -> Headers:
            try:
                found = await settings.auth_settings()
            except (OSError, ValueError) as error:
                raise UnreachableError(f"the token cannot be read: {error}") from error
            return {one["key"]: one["value"] for one in found.values() if one["in"] == "header" and one["value"]}

        def tls() -> ssl.SSLContext | None:
            if not settings.host.startswith("https:"):
                return None
            context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
            if settings.cert_file:
                context.load_cert_chain(settings.cert_file, keyfile=settings.key_file)
            if not settings.verify_ssl:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return context

        return cls(settings.host, tls=tls, headers=headers)

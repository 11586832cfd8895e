"""The client for wherever a process was told that its API server is."""

from pathlib import Path

from towpath.controller.kube.client import KubeApi, Timeouts
from towpath.controller.kube.credentials import Credentials


async def connect(
    *, server: str | None = None, kubeconfig: Path | None = None, timeouts: Timeouts | None = None
) -> KubeApi:
    """A URL (nobody is asked who we are), a kubeconfig, or the pod's own account. ``UnreachableError`` if that is unusable."""
    if server is not None:
        return KubeApi(Credentials(server), timeouts=timeouts)
    if kubeconfig is not None:
        return KubeApi(await Credentials.from_kubeconfig(kubeconfig), timeouts=timeouts)
    return KubeApi(Credentials.in_cluster(), timeouts=timeouts)

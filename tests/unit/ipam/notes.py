"""Notes as libcni keeps them of what a runtime attached."""

import json
import os
from pathlib import Path


def note(folder: Path, container: str, *addresses: str, network: str = "k8s-pod-network", at: float = 1000.0) -> Path:
    """What is kept from ADD to DEL, as libcni of containerd 1.6 and 1.7 writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": one} for one in addresses], "dns": {}}
    body = {
        "kind": "cniCacheV1",
        "containerId": container,
        "config": "e30=",
        "ifName": "eth0",
        "networkName": network,
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "p"]],
        "result": result,
    }
    path = folder / f"{network}-{container}-eth0"
    path.write_text(json.dumps(body))
    os.utime(path, (at, at))
    return path

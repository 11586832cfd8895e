"""Pods as a container runtime makes them: a namespace, then the node's CNI plugins called one after the other.

The conflist is read through the node's CNI folder at every call, as a kubelet's runtime does; a link that dangles is
a node that is not ready.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from msgspec import Struct

from towpath.lab.netns import Host
from towpath.model.net import Address, Family, family_of

PLUGINS = Path("/usr/lib/cni")
_HEADERS = {Family.IPV4: 28, Family.IPV6: 48}
"""Bytes of the IP and ICMP headers."""


class NotReadyError(RuntimeError):
    """The node has no CNI configuration: a kubelet would report NetworkReady=false."""


class PluginError(RuntimeError):
    """A plugin said no; the message is what it printed."""


class Pod(Struct, frozen=True):
    """A pod of the lab: its namespace is also its host's name."""

    name: str
    node: str
    container: str
    addresses: tuple[str, ...]

    def address(self, family: Family) -> Address | None:
        """The pod's address of a family."""
        for text in self.addresses:
            interface = ip_interface(text)
            if family_of(interface) is family:
                return interface.ip
        return None


def conflist(folder: Path) -> dict[str, Any]:
    """The first network configuration in the folder by name; ``NotReadyError`` where there is none to read."""
    for entry in sorted(folder.glob("*.conflist")):
        try:
            parsed: dict[str, Any] = json.loads(entry.read_text())
        except FileNotFoundError:  # the link dangles
            continue
        return parsed
    raise NotReadyError(f"no network configuration in {folder}")


def add(
    node: Host,
    pod: Host,
    *,
    folder: Path,
    ports: tuple[Mapping[str, Any], ...] = (),
    plugins: Path = PLUGINS,
) -> Pod:
    """Attach a pod's namespace to the node with the plugins in a folder; what a failing one left is removed again, as a runtime does."""
    network = conflist(folder)
    container = uuid.uuid4().hex
    result: dict[str, Any] | None = None
    try:
        for plugin in network["plugins"]:
            result = _call(
                "ADD",
                node,
                pod,
                container=container,
                network=network,
                plugin=plugin,
                ports=ports,
                before=result,
                plugins=plugins,
            )
    except PluginError:
        _delete(node, pod, container=container, network=network, ports=ports, plugins=plugins)
        raise
    assert result is not None, "a conflist has at least one plugin"
    addresses = tuple(str(entry["address"]) for entry in result["ips"])
    return Pod(name=pod.name, node=node.name, container=container, addresses=addresses)


def remove(
    node: Host,
    pod: Host,
    *,
    folder: Path,
    container: str,
    ports: tuple[Mapping[str, Any], ...] = (),
    plugins: Path = PLUGINS,
) -> None:
    """Detach a pod's namespace from the node; ``ports`` as they were when it was attached."""
    _delete(node, pod, container=container, network=conflist(folder), ports=ports, plugins=plugins)


def _delete(
    node: Host,
    pod: Host,
    *,
    container: str,
    network: dict[str, Any],
    ports: tuple[Mapping[str, Any], ...],
    plugins: Path,
) -> None:
    for plugin in reversed(network["plugins"]):
        _call(
            "DEL",
            node,
            pod,
            container=container,
            network=network,
            plugin=plugin,
            ports=ports,
            before=None,
            plugins=plugins,
        )


def _call(
    command: str,
    node: Host,
    pod: Host,
    *,
    container: str,
    network: dict[str, Any],
    plugin: dict[str, Any],
    ports: tuple[Mapping[str, Any], ...],
    before: dict[str, Any] | None,
    plugins: Path,
) -> dict[str, Any] | None:
    configuration = {"name": network["name"], "cniVersion": network["cniVersion"], **plugin}
    if before is not None:
        configuration["prevResult"] = before
    if plugin.get("capabilities", {}).get("portMappings"):
        configuration["runtimeConfig"] = {"portMappings": [dict(port) for port in ports]}
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{node.netns}", str(plugins / plugin["type"])],
        input=json.dumps(configuration),
        env={
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{pod.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(plugins),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name}",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise PluginError(f"{plugin['type']} {command} on {node.name}: {done.stdout.strip()} {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else before


def ping(source: Host, address: Address, *, wait: int = 1, size: int | None = None) -> bool:
    """Whether one echo request is answered within ``wait`` seconds; with ``size``: as one packet of so many bytes."""
    whole = () if size is None else ("-M", "do", "-s", str(size - _HEADERS[family_of(address)]))
    return "1 received" in source.run("ping", "-n", "-c", "1", "-W", str(wait), *whole, str(address), check=False)

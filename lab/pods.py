"""Pods as a container runtime makes them: a namespace, then the node's CNI plugins called one after the other.

The conflist is read through the node's CNI folder at every call, as a kubelet's runtime does; a link that dangles is
a node that is not ready. With ``network`` it is that of this name in another folder, as Multus calls it for a further
interface of a pod (its ``confDir``): it reads no other file of the folder while there is one that it cannot read.
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
    result: Mapping[str, Any]
    """What the last plugin said."""

    def address(self, family: Family) -> Address | None:
        """The pod's address of a family."""
        for text in self.addresses:
            interface = ip_interface(text)
            if family_of(interface) is family:
                return interface.ip
        return None


class Call(Struct, frozen=True):
    """Of whom plugins are called for, and what a runtime passes on."""

    node: Host
    pod: Host
    container: str
    interface: str = "eth0"
    ports: tuple[Mapping[str, Any], ...] = ()
    plugins: Path = PLUGINS


def conflist(folder: Path, network: str = "") -> dict[str, Any]:
    """The first network configuration in the folder by name, or that of a network; ``NotReadyError`` where there is none to read."""
    for entry in sorted(folder.glob("*.conflist")):
        try:
            parsed: dict[str, Any] = json.loads(entry.read_text())
        except FileNotFoundError:  # the link dangles
            if network:
                break
            continue
        if network in ("", parsed["name"]):
            return parsed
    raise NotReadyError(f"no network configuration {network} in {folder}")


def add(
    node: Host,
    pod: Host,
    *,
    folder: Path,
    ports: tuple[Mapping[str, Any], ...] = (),
    network: str = "",
    interface: str = "eth0",
    container: str = "",
    plugins: Path = PLUGINS,
) -> Pod:
    """Attach a pod's namespace to the node with the plugins in a folder; what a failing one left is removed again, as a runtime does."""
    found = conflist(folder, network)
    call = Call(node, pod, container or uuid.uuid4().hex, interface, ports, plugins)
    result: dict[str, Any] | None = None
    try:
        for plugin in found["plugins"]:
            result = _run("ADD", call, network=found, plugin=plugin, before=result)
    except PluginError:
        _delete(call, network=found)
        raise
    assert result is not None, "a conflist has at least one plugin"
    addresses = tuple(str(entry["address"]) for entry in result["ips"])
    return Pod(name=pod.name, node=node.name, container=call.container, addresses=addresses, result=result)


def check(
    node: Host,
    pod: Host,
    made: Pod,
    *,
    folder: Path,
    network: str = "",
    interface: str = "eth0",
    plugins: Path = PLUGINS,
) -> None:
    """Have the plugins compare what they made with what is there; ``PluginError``: it is other."""
    found = conflist(folder, network)
    for plugin in found["plugins"]:
        call = Call(node, pod, made.container, interface, plugins=plugins)
        _run("CHECK", call, network=found, plugin=plugin, before=dict(made.result))


def remove(
    node: Host,
    pod: Host,
    *,
    folder: Path,
    container: str,
    ports: tuple[Mapping[str, Any], ...] = (),
    network: str = "",
    interface: str = "eth0",
    plugins: Path = PLUGINS,
) -> None:
    """Detach a pod's namespace from the node; ``ports`` as they were when it was attached."""
    _delete(Call(node, pod, container, interface, ports, plugins), network=conflist(folder, network))


def _delete(call: Call, *, network: dict[str, Any]) -> None:
    for plugin in reversed(network["plugins"]):
        _run("DEL", call, network=network, plugin=plugin, before=None)


def _run(
    command: str, call: Call, *, network: dict[str, Any], plugin: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any] | None:
    node, pod = call.node, call.pod
    configuration = {"name": network["name"], "cniVersion": network["cniVersion"], **plugin}
    if before is not None:
        configuration["prevResult"] = before
    if plugin.get("capabilities", {}).get("portMappings"):
        configuration["runtimeConfig"] = {"portMappings": [dict(port) for port in call.ports]}
    done = subprocess.run(
        [*node.enter, str(call.plugins / plugin["type"])],
        input=json.dumps(configuration),
        env={
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": call.container,
            "CNI_NETNS": f"/run/netns/{pod.netns}",
            "CNI_IFNAME": call.interface,
            "CNI_PATH": str(call.plugins),
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

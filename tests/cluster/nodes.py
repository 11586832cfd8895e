"""What towpath could leave on a node: routes, rules, devices, tables, sysctls, files of CNI."""

from towpath.lab.cluster.machine import Machine

_LOOKS = {
    "IPv4 routes": "ip -4 route show table all | grep -v 'table local' | sort",
    "IPv6 routes": "ip -6 route show table all | grep -v 'table local' | sort",
    "rules": "ip -4 rule; ip -6 rule",
    "devices": "ip -brief link | cut -d ' ' -f 1 | cut -d @ -f 1",
    "neighbours": "ip neigh show nud permanent",
    "tables": "nft list tables | sort",
    "sysctls": "sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.eth0.rp_filter "
    "net.ipv6.conf.all.forwarding net.ipv6.conf.eth0.accept_ra net.ipv6.conf.eth0.forwarding",
    "CNI configuration": "ls -A /etc/cni/net.d",
    "CNI plugins": "cd /opt/cni/bin && md5sum *",
}


def state(machine: Machine) -> dict[str, str]:
    """How a node looks, thing by thing."""
    return {what: machine.run("sh", "-c", look) for what, look in _LOOKS.items()}

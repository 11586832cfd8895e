"""A machine's own daemons of networks, systemd-networkd and NetworkManager, in a host's namespace: the real ones.

They see a machine of their own: what they write of files lies in one folder, which is the agent's ``--host-root``, the machine's
own files they can only read, and they have a system bus beside them. udev is not there; its files say of every device that it has been seen, as it does
where no rule says more.
"""

from pathlib import Path

from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for

THEIRS = ("run", "etc/systemd", "etc/NetworkManager", "var/lib/NetworkManager")
"""What they have of the machine's files for themselves."""
BUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
 <type>system</type>
 <listen>unix:path=/run/dbus/system_bus_socket</listen>
 <auth>EXTERNAL</auth>
 <policy context="default">
  <allow user="*"/>
  <allow own="*"/>
  <allow send_type="method_call"/>
  <allow receive_type="method_call"/>
  <allow send_type="signal"/>
  <allow receive_type="signal"/>
  <allow send_type="method_return"/>
  <allow receive_type="method_return"/>
  <allow send_type="error"/>
  <allow receive_type="error"/>
 </policy>
</busconfig>
"""
NETWORKD = "/lib/systemd/systemd-networkd"
NETWORK_MANAGER = ("NetworkManager", "--no-daemon", "--log-level=INFO")


class Daemons:
    """The folder ``root`` is the machine's; its bus runs."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.root = root
        for name in (*THEIRS, "run/dbus", "run/systemd", "run/udev/data", "etc/systemd/network"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(1, 200):
            (root / f"run/udev/data/n{index}").write_text("I:1\n")
        configuration = root / "bus.conf"
        configuration.write_text(BUS)
        mounts = [f"mount --bind {root / name} /{name}" for name in THEIRS]
        bus = f"exec dbus-daemon --config-file={configuration} --nofork --nopidfile"
        # NetworkManager would write the machine's /etc/resolv.conf: whatever is not theirs alone they cannot write
        script = "; ".join((*mounts, "mount -t sysfs sysfs /sys", "mount -o remount,bind,ro /", bus))
        self._bus = host.process("unshare", "--mount", "sh", "-ec", script, log=root / "bus.log")
        wait_for((root / "run/dbus/system_bus_socket").exists, deadline=20, what=f"a bus ({self._bus.log})")

    def write(self, name: str, *lines: str) -> None:
        """A file of the machine."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    def run(self, *command: str) -> str:
        """A short program, such as ``networkctl``, on that machine."""
        return self.host.run(*self._there(), *command)

    def start(self, *command: str, log: str) -> Process:
        """A daemon on that machine."""
        return self.host.process(*self._there(), *command, log=self.root / log)

    def networkd(self, *devices: str) -> Process:
        """systemd-networkd, which has configured these devices by its files for them."""
        for device in devices:
            self._links(device).unlink(missing_ok=True)
        started = self.start(NETWORKD, log="networkd.log")
        for device in devices:
            self.configured(device)
        return started

    def configured(self, device: str, *lines: str) -> None:
        """Wait until networkd is done with a device, and says this of it."""
        path, wanted = self._links(device), {"ADMIN_STATE=configured", *lines}
        wait_for(
            lambda: path.exists() and wanted <= set(path.read_text().split()),
            deadline=30,
            what=f"networkd has configured {device} {' '.join(lines)}",
        )

    def _links(self, device: str) -> Path:
        return self.root / f"run/systemd/netif/links/{self.index(device)}"

    def index(self, device: str) -> int:
        """The number by which the daemons' files call a device."""
        (link,) = self.host.ip_json("link", "show", "dev", device)
        return int(link["ifindex"])

    def _there(self) -> tuple[str, ...]:
        return ("nsenter", f"--mount=/proc/{self._bus.pid}/ns/mnt")

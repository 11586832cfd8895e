"""The image as a runtime sees it: unpacked by umoci, run by runc, none of which knows how it was made."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.names import own
from towpath.lab.process import Process, run, wait_for


class Bundle:
    """An unpacked image: its ``root`` file system and the configuration that umoci derived from the image's own."""

    def __init__(self, archive: Path, folder: Path) -> None:
        run("skopeo", "copy", "-q", f"oci-archive:{archive}", f"oci:{folder / 'layout'}:made", timeout=60)
        run("umoci", "unpack", "--image", f"{folder / 'layout'}:made", str(folder / "bundle"), timeout=60)
        self.root = folder / "bundle" / "rootfs"
        self.config: dict[str, Any] = json.loads((folder / "bundle" / "config.json").read_text())


class Container:
    """One container of an image, with a read-only root, no new privileges, and nothing but the capabilities given."""

    def __init__(
        self,
        bundle: Bundle,
        folder: Path,
        arguments: Sequence[str],
        *,
        name: str,
        user: int | None = None,
        capabilities: Sequence[str] = (),
        netns: str | None = None,
        mounts: dict[Path, str] | None = None,
        command: Sequence[str] | None = None,
        read_only: bool = True,
    ) -> None:
        config = json.loads(json.dumps(bundle.config))
        self.name = f"{own('tpim')}-{name}"
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        process = config["process"]
        process["terminal"] = False
        process["args"] = [*(command or process["args"]), *arguments]
        process["noNewPrivileges"] = True
        if user is not None:
            process["user"] = {"uid": user, "gid": user}
        # as a kubelet gives them to a container: nobody but root has any of them after the first exec
        held = [f"CAP_{one}" for one in capabilities]
        process["capabilities"] = {"bounding": held, "effective": held, "permitted": held}
        config["root"] = {"path": str(bundle.root), "readonly": read_only}
        config["mounts"] += [
            {"destination": one, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
            for one in ("/run", "/tmp")
        ]
        config["mounts"] += [
            {"destination": inside, "type": "bind", "source": str(outside), "options": ["bind", "rw"]}
            for outside, inside in (mounts or {}).items()
        ]
        if netns is not None:
            for one in config["linux"]["namespaces"]:
                if one["type"] == "network":
                    one["path"] = f"/run/netns/{netns}"
        (self.folder / "config.json").write_text(json.dumps(config))
        command = ("runc", "--root", str(self.folder / "state"), "run", "--bundle", str(self.folder), self.name)
        self.process = Process(command, log=self.folder / "log")

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runc("delete", "--force", self.name)
        self.process.stop()
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    @property
    def log(self) -> str:
        """All that it printed."""
        return self.process.log

    def says(self, text: str) -> None:
        """Wait until it has printed something."""
        wait_for(lambda: text in self.log or not self.process.running, deadline=20, what=f"{text} of {self.name}")
        assert text in self.log, self.log

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self._runc("kill", self.name, "TERM")
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; the exit status."""
        wait_for(lambda: not self.process.running, deadline=20, what=f"{self.name} ends")
        assert self.process.child is not None
        return int(self.process.child.returncode)

    def _runc(self, *arguments: str) -> str:
        return run("runc", "--root", str(self.folder / "state"), *arguments, check=False, timeout=30)

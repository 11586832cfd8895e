"""``./dev image``: make the container image; the archive's path is the last line printed."""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from towpath.lab.golang import ToolError
from towpath.lab.image import recipe
from towpath.lab.image.build import Image, Workshop


def main() -> int:
    """Make it; exit 1 with a sentence where that is not possible."""
    parser = argparse.ArgumentParser(prog="./dev image", description=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the archive (default dist/towpath-VERSION-ARCH.oci.tar)"
    )
    parser.add_argument(
        "--architecture",
        choices=(*sorted(recipe.PLATFORMS), "native"),
        default="native",
        help="default: this machine's",
    )
    parser.add_argument("--fresh", action="store_true", help="ask for Debian's newest packages again")
    parser.add_argument("--layers", type=Path, metavar="DIR", help="unpack the layers here, in place of an archive")
    arguments = parser.parse_args()
    try:
        platform = recipe.PLATFORMS.get(arguments.architecture) or recipe.native()
        made = Workshop(platform, epoch=_epoch(), say=_say).image(fresh=arguments.fresh)
        if arguments.layers:
            unpack(made, arguments.layers)
    except (ToolError, RuntimeError) as error:
        print(f"the image cannot be made: {error}", file=sys.stderr)
        return 1
    if arguments.layers:
        print(arguments.layers)
        return 0
    output = arguments.output or recipe.ROOT / "dist" / made.archive.name
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(output.name.removesuffix(".oci.tar").removesuffix(".tar") + ".spdx.json")
    for source, target in ((made.archive, output), (made.sbom, beside)):
        _place(source, target)
    unpacked = sum(layer.unpacked for layer in made.layers)
    print(f"{made.digest}  {unpacked / 1e6:.0f} MB unpacked", file=sys.stderr)
    print(output)
    return 0


def unpack(image: Image, into: Path) -> None:
    """Unpack each layer into a folder called after it."""
    with tarfile.open(image.archive) as archive:
        for layer in image.layers:
            target = into / layer.what
            target.mkdir(parents=True)
            blob = archive.extractfile(f"blobs/sha256/{layer.digest}")
            if blob is None:
                raise ToolError(f"{image.archive} has no layer {layer.digest}")
            with subprocess.Popen(["tar", "-xzpC", str(target)], stdin=subprocess.PIPE) as process:
                shutil.copyfileobj(blob, process.stdin)  # type: ignore[arg-type]  # it was asked for
            if process.returncode:
                raise ToolError(f"the layer {layer.what} cannot be unpacked into {target}")


def _place(source: Path, target: Path) -> None:
    """The same file there, by rename."""
    new = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, new)
    new.rename(target)


def _epoch() -> int:
    """The one time that everything in the image has, in seconds (https://reproducible-builds.org/specs/source-date-epoch/)."""
    text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not text.isdecimal():
        raise ToolError(f"SOURCE_DATE_EPOCH={text}: it must be a number of seconds")
    return int(text)


def _say(text: str) -> None:
    print(f"[image] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

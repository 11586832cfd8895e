"""Writes the files that are made from definitions: the chart's CRDs and values, the reference pages, and the pictures of paths.

``python -m towpath.controller.generate`` writes them below the current folder, ``--check`` only says which are stale.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from towpath.controller.chart.known import known
from towpath.controller.chart.page import values_page, values_yaml
from towpath.controller.chart.schema import values_schema
from towpath.controller.definitions import release, stamped
from towpath.controller.pictures import FOLDER, pictures
from towpath.model.crd import crds
from towpath.model.reference import reference

CRD_FOLDER = Path("charts/towpath/crds")
REFERENCE_PAGE = Path("docs/reference/kinds.md")
KNOWN = Path("charts/towpath/files/known.yaml")
VALUES = Path("charts/towpath/values.yaml")
VALUES_SCHEMA = Path("charts/towpath/values.schema.json")
VALUES_PAGE = Path("docs/reference/values.md")


class _Dumper(yaml.SafeDumper):
    """Repeats what is shared instead of pointing at it: people and ``kubectl diff`` read these files."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the signature is PyYAML's
        return True


def files(root: Path) -> dict[Path, str]:
    """Every generated file, by its path from the project's root; ``root``: where that is, for the objects that pictures are of."""
    made = {
        CRD_FOLDER / f"{crd['spec']['names']['plural']}.yaml": yaml.dump(
            stamped(crd, by=release()), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
        )
        for crd in crds()
    }
    return made | {
        REFERENCE_PAGE: reference(),
        KNOWN: "# Made by ./dev generate from the code.\n" + yaml.safe_dump(known(), sort_keys=False),
        VALUES: values_yaml(),
        VALUES_SCHEMA: json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n",
        VALUES_PAGE: values_page(),
        **pictures(root),
    }


def stale(root: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """The files below ``root`` that differ from those ``wanted``, are missing, or should not be there."""
    wrong = [path for path, text in wanted.items() if not (root / path).is_file() or (root / path).read_text() != text]
    made = (*(root / CRD_FOLDER).glob("*.yaml"), *(root / FOLDER).glob("*.svg"))
    extra = [path.relative_to(root) for path in sorted(made)]
    return wrong + [path for path in extra if path not in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 with ``--check`` where a file is stale."""
    parser = argparse.ArgumentParser(prog="python -m towpath.controller.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    options = parser.parse_args(arguments)
    root = Path.cwd()
    wanted = files(root)
    wrong = stale(root, wanted)
    for path in wrong:
        print(path)
        if options.check:
            continue
        target = root / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(wanted[path])
        else:
            target.unlink()
    return 1 if options.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())

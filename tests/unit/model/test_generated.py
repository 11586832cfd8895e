"""The generated files are what the kinds say."""

from pathlib import Path

from towpath.controller.generate import files, stale
from towpath.model.crd import crds
from towpath.model.kinds.registry import KINDS

ROOT = Path(__file__).parents[3]


def test_generated_files_are_fresh() -> None:
    """CRDs, the reference pages and the pictures equal what is made now; ``python -m towpath.controller.generate`` writes them."""
    assert stale(ROOT, files(ROOT)) == []


def test_a_stale_file_is_found(tmp_path: Path) -> None:
    """A missing file and one that is too many are both stale, and so is a picture that has become another."""
    wanted, many = files(ROOT), ("charts/towpath/crds/other.yaml", "docs/pictures/paths/other.svg")
    for name in many:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    assert set(stale(tmp_path, wanted)) == {*wanted, *map(Path, many)}
    assert len(wanted) > len(KINDS)
    for path, text in wanted.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "\n" * path.match("*/vxlan.svg"))
    assert set(stale(tmp_path, wanted)) == {Path("docs/pictures/paths/vxlan.svg"), *map(Path, many)}


def test_every_field_is_described() -> None:
    """``kubectl explain`` has a sentence for every field of ours."""

    def undescribed(schema: dict, path: str) -> list[str]:
        found = [] if "description" in schema else [path]
        for name, field in schema.get("properties", {}).items():
            if name != "conditions":
                found += undescribed(field, f"{path}.{name}")
        return found

    for crd in crds():
        root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            assert undescribed(root["properties"][part], f"{crd['metadata']['name']} {part}") == []

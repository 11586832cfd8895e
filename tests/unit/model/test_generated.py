"""The generated files are what the kinds say."""

from pathlib import Path

from towpath.controller.generate import files, stale
from towpath.model.crd import crds
from towpath.model.kinds.registry import KINDS

ROOT = Path(__file__).parents[3]


def test_generated_files_are_fresh() -> None:
    """CRDs and the reference page equal what is made from the kinds; ``python -m towpath.controller.generate`` writes them."""
    assert stale(ROOT) == []


def test_a_stale_file_is_found(tmp_path: Path) -> None:
    """A missing file and one that is too many are both stale."""
    extra = tmp_path / "charts/towpath/crds/other.yaml"
    extra.parent.mkdir(parents=True)
    extra.write_text("")
    assert set(stale(tmp_path)) == {*files(), extra.relative_to(tmp_path)}
    assert len(files()) > len(KINDS)


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

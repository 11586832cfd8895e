"""``Containerfile`` and the recipe say the same."""

import json
import re
import shlex

import pytest

from tests.tree import ROOMS, ROOT
from towpath.lab.golang import ToolError
from towpath.lab.image import build, recipe, wheels

TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Containerfile").read_text())
STAGES = [stage.splitlines() for stage in re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]]


def said(word: str) -> list[str]:
    """What the last stage says by an instruction."""
    return [line.removeprefix(f"{word} ") for line in STAGES[-1] if line.startswith(f"{word} ")]


def pairs(line: str) -> dict[str, str]:
    return dict(one.split("=", 1) for one in shlex.split(line))


def test_both_run_the_same_with_the_same_words() -> None:
    """Entry point, user, environment, folder and labels."""
    config = build.config()
    assert [json.loads(line) for line in said("ENTRYPOINT")] == [config["Entrypoint"]]
    assert said("USER") == [config["User"]]
    assert said("WORKDIR") == [config["WorkingDir"]]
    assert [pairs(line) for line in said("ENV")] == [recipe.ENVIRONMENT]
    assert [pairs(line) for line in said("LABEL")] == [config["Labels"]]


def test_the_last_stage_has_the_layers_and_nothing_else() -> None:
    """In the order of the archive; no program runs there."""
    assert STAGES[-1][0] == "scratch"
    assert said("COPY") == [f"--from=layers /layers/{name}/ /" for name in ("system", "libraries", "towpath")]
    words = {line.split()[0] for line in STAGES[-1][1:] if line}
    assert words == {"COPY", "ENV", "LABEL", "USER", "WORKDIR", "ENTRYPOINT"}


def test_the_first_stage_sees_all_that_the_image_is_made_of() -> None:
    """Every room and file goes into the stage, past .dockerignore, and nothing is fetched by name that the recipe has."""
    copied = {word for line in STAGES[0] if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {*ROOMS, "cni", "src", "requirements", "dev", "pyproject.toml", "README.md", "LICENSE"}
    passed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert passed == copied
    assert not any(package in TEXT for package in (*recipe.DEBIAN, "apt-get", "pip install"))


def test_image_names_are_short() -> None:
    """The base comes from whatever registry the builder is set up for."""
    assert [stage[0].split()[0] for stage in STAGES] == [f"debian:{recipe.SUITE}-slim", "scratch"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_machine_knows_its_platform(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel's word for it."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert recipe.native().machine == machine


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the architectures that there are."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ToolError, match=r"no image for riscv64, only for amd64, arm64"):
        recipe.native()


def test_a_condition_in_the_lock_that_might_be_judged_wrongly_is_refused(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python that builds is not the one of the image: only the operating system is the same for both."""
    wheels.check_markers(wheels.LOCK)
    lock = tmp_path / "runtime.lock"
    lock.write_text("backport==1.0 ; python_version < '3.12' \\\n    --hash=sha256:00\n")
    with pytest.raises(ToolError, match=r"backport==1.0: the condition python_version < '3.12' is not understood"):
        wheels.check_markers(lock)

"""The locked requirements of a deployment are whole, hashed, and the versions that are tested."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9_.-]+)==(\S+?)(?:\s|\Z)")


def pins(file: Path) -> dict[str, str]:
    found = (PIN.match(line) for line in file.read_text().splitlines())
    return {canonicalize_name(each[1]): each[2] for each in found if each}


LOCKED = pins(TREE / "deploy/requirements.txt")


def needed() -> set[str]:
    """Return the names of all that the product and its tracing need on this machine."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    found: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            waiting += _requirements(name, requirement.extras)
    return found


def _requirements(name: str, extras: set[str]) -> list[str]:
    requirements = []
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
        ):
            requirement.marker = None
            requirements.append(str(requirement))
    return requirements


def test_all_that_is_needed_is_locked() -> None:
    assert needed() - set(LOCKED) == set()


def test_locked_versions_are_the_tested_ones() -> None:
    tested = pins(TREE / "constraints.txt")
    assert {name: tested[name] for name in LOCKED if name in tested} == {
        name: version for name, version in LOCKED.items() if name in tested
    }


def test_every_pin_has_a_hash_and_no_address() -> None:
    text = (TREE / "deploy/requirements.txt").read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[A-Za-z])", text)[1:]
    assert len(entries) == len(LOCKED)
    assert all("--hash=sha256:" in entry for entry in entries)

"""The workflow of the code host does what `.ci/run` does, and nothing beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]


def test_workflow_runs_the_script() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_script_checks_style_documentation_and_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"make \w+$", script, re.MULTILINE) == ["make lint", "make docs", "make test"]

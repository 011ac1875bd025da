"""Kinds that installed packages add: valid ones, and errors about others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from api.spec.operations.all_operations import operations
from projections.fold import RANKS
from streams.kind_packages import GROUP, RESERVED_URLS, check_kind, installed_kinds
from streams.kinds import BUILT_IN, JOB, InvalidKind, Kind, State
from tests.support.packages import ROOT
from tests.support.waiting import ENDING

WORDS = {state.value: f"{state.name}_X" for state in State}
VALID = {"name": "transcript", "url": "/transcripts", "plural": "transcripts"}


def install(folder: Path, source: str, name: str = "acme-kinds") -> None:
    """Install a package whose entry point `transcript` is `KIND` of a module."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ntranscript = {module}:KIND\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_kinds", raising=False)
    return tmp_path


def added(packages: Path, fields: Mapping[str, Any]) -> Kind:
    install(packages, f"KIND = {dict(fields)!r}\n")
    try:
        return installed_kinds(BUILT_IN)["transcript"]
    finally:
        sys.modules.pop("acme_kinds", None)


def test_a_mapping_of_names_and_words_is_enough(packages: Path) -> None:
    assert added(packages, VALID) == Kind(
        name="transcript", url="/transcripts", plural="transcripts"
    )


def test_all_fields_are_taken(packages: Path) -> None:
    kind = added(packages, {**VALID, "words": WORDS, "result_fields": ["text"], "numeric_id": True})
    assert kind.words[State.DONE] == "DONE_X"
    assert (kind.result_fields, kind.numeric_id) == (("text",), True)


def test_an_entry_of_the_workers_package_is_one_too(packages: Path) -> None:
    """In the worker's package `Kind` is another class, because the import name differs."""
    install(
        packages,
        "from dataclasses import dataclass\nfrom streams.kinds import Kind as Base\n"
        f"@dataclass(frozen=True)\nclass Kind(Base): pass\nKIND = Kind(**{VALID!r})\n",
    )
    kind = installed_kinds(BUILT_IN)["transcript"]
    assert type(kind) is Kind
    sys.modules.pop("acme_kinds")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "job"}, "there is a kind job already"),
        ({"name": "a:b"}, "name: 'a:b' must be a word"),
        ({"plural": "videos"}, "plural: videos belongs to the kind video"),
        ({"url": "transcripts/"}, "url: 'transcripts/' must be a path"),
        ({"url": "/media/videos/old"}, "url: /media/videos/old and /media/videos overlap"),
        ({"url": "/media"}, "url: /media and /media/videos overlap"),
        ({"url": "/docs"}, "url: /docs and /docs overlap"),
        ({"words": {"queued": "WAITING"}}, "words: must have one word for each state"),
        (
            {"words": {**WORDS, "done": "READY", "queued": "DONE"}},
            "DONE means done in the kind job",
        ),
        ({"words": {**WORDS, "over": "OVER"}}, "words.over"),
        ({"words": {**WORDS, "done": "fertig\n"}}, r"'fertig\\n' must be a word of A-Z"),
        ({"result_fields": ["a b"]}, "result_fields.0: 'a b' must be a word"),
        ({"result_fields": ["status"]}, "the field status would have two meanings"),
        ({"result_fields": ["text", "text"]}, "the field text would have two meanings"),
        ({"id_field": "error_message"}, "the field error_message would have two meanings"),
        ({"plural": "exp"}, "plural: exp is another claim of tokens"),
        ({"plural": "tenant_id"}, "plural: tenant_id is another claim of tokens"),
        ({"progress_prefix": ""}, "progress_prefix: '' must be a word"),
        (
            {"progress_prefix": "text_", "result_fields": ["text_step_index"]},
            "the field text_step_index would have two meanings",
        ),
        ({"legacy_prefix": "job:"}, "legacy_prefix: job: belongs to the kind job"),
        ({"step_shares": {"a": 101}}, "step_shares: must be percents"),
        ({"colour": "red"}, "unknown field colour"),
        ({"url": 7}, "url: Input should be a valid string"),
    ],
    ids=str,
)
def test_invalid_entry_is_one_line(packages: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidKind) as raised:
        added(packages, VALID | fields)
    line = str(raised.value)
    assert line.startswith("the kind transcript of acme-kinds (acme_kinds:KIND): ")
    assert said.replace("\\\\", "\\") in line
    assert "\n" not in line


@pytest.mark.parametrize("source", ["KIND = 7", "raise SystemError('no\\nway')", "", "import ["])
def test_entry_that_cannot_be_used_is_one_line_of_the_command(packages: Path, source: str) -> None:
    install(packages, source)
    done = subprocess.run(
        [sys.executable, "-m", "ops", "doctor"],
        cwd=ROOT,
        env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDING,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("jobtrail: the kind transcript of acme-kinds (acme_kinds:KIND): ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", BUILT_IN.values(), ids=list(BUILT_IN))
def test_built_in_kinds_are_valid(kind: Kind) -> None:
    check_kind(kind, {name: other for name, other in BUILT_IN.items() if other is not kind})


def test_no_kind_may_take_another_path_of_the_api() -> None:
    own = tuple(f"{kind.url}/" for kind in BUILT_IN.values())
    others = {each.path for each in operations() if not each.path.startswith(own)}
    assert {path for path in others if not path.startswith(RESERVED_URLS)} == set()


def test_two_packages_cannot_add_one_kind(packages: Path) -> None:
    install(packages, f"KIND = {VALID!r}\n")
    install(packages, f"KIND = {VALID!r}\n", "other-kinds")
    with pytest.raises(InvalidKind, match=r"of other-kinds .* there is a kind transcript already"):
        installed_kinds(BUILT_IN)


def test_ranks_are_those_of_the_fold() -> None:
    assert {state: state.rank for state in State} == {state: RANKS[state] for state in State}
    assert JOB.words[State.DONE] == "DONE"

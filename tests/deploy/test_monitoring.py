"""Dashboard, alerts, runbook and table name what the code says, and all of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from consumers import metrics
from streams import entries, events
from tests.deploy import metric_table
from tests.support.debian import debian_program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "jobtrail.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
NAME = re.compile(r"\bjobtrail_[a-z_]+")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in rules())]


def test_every_metric_that_is_asked_for_exists() -> None:
    asked = {name for query in queries() for name in NAME.findall(query)}
    assert asked - metric_table.sample_names() == set()


def test_every_metric_is_on_the_dashboard() -> None:
    asked = {
        re.sub("_(bucket|sum|count)$", "", name)
        for query in queries()
        for name in NAME.findall(query)
    }
    assert set(metric_table.described()) - asked == set()


def test_dashboard_renders_no_text_as_markup_and_follows_none() -> None:
    """Labels may hold what a tenant chose: they stand in legends, where they are text."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard.get("links", []) == []
    assert [each["type"] for each in dashboard["templating"]["list"]] == ["datasource"]
    assert {panel["type"] for panel in panels()} <= {"timeseries", "stat", "heatmap"}
    written = json.dumps(dashboard)
    for word in ('"dataLinks"', '"content"', "${__data", "${__field", "${__series", "<"):
        assert word not in written, word
    assert not any(panel.get("links") for panel in panels())
    assert not any(panel["fieldConfig"]["defaults"].get("links") for panel in panels())


def test_no_alert_says_what_a_tenant_chose() -> None:
    """Summaries go to chats and mails, some of which render markup."""
    for rule in rules():
        assert "tenant }}" not in json.dumps(rule["annotations"])
        assert "$labels.tenant" not in json.dumps(rule)


def test_labels_that_are_asked_for_exist() -> None:
    """A selector or grouping by a label that no metric of the query has finds nothing, silently."""
    known = metric_table.labels()
    common = {"le", "instance", "job"}
    for query in queries():
        names = {re.sub("_(bucket|sum|count|total)$", "", name) for name in NAME.findall(query)}
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            asked |= {label.strip() for label in group.split(",") if label.strip()}
        have = {label for name in names for label in known[name]}
        assert asked - have - common == set(), query


def test_table_is_that_of_the_code() -> None:
    """Where it is not: `python -m tests.deploy.metric_table` writes it."""
    _, _, rest = metric_table.DOCUMENT.read_text().partition(metric_table.BEGIN)
    assert rest.partition(metric_table.END)[0] == metric_table.table()


def test_names_keep_to_the_conventions() -> None:
    for name, (kind, meaning) in metric_table.described().items():
        assert meaning.endswith("."), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search("(_ms|_millis|_minutes|_count|_sum|_bucket)(_|$)", name), name


def test_reasons_that_are_counted_from_zero_are_those_that_there_are() -> None:
    source = "".join(Path(str(module.__file__)).read_text() for module in (entries, events))
    settler = (ROOT / "consumers" / "loop" / "settling.py").read_text()
    said = set(re.findall(r"InvalidEvent\(\s*\"(\w+)\"", source))
    rejected = set(re.findall(r"_reject\([^\"\n]*\"(\w+)\"", settler))
    assert len(rejected) == 2
    assert said | rejected == set(metrics.REASONS)


def test_every_alert_has_its_page_in_the_runbook() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = {title.lower() for title in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    alerts = {rule["alert"].lower(): rule for rule in rules()}
    assert sections == set(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_commands_of_the_runbook_exist() -> None:
    from typer.main import get_command  # noqa: PLC0415 - only here

    from ops.cli import app  # noqa: PLC0415 - the whole command line

    known: Any = get_command(app)
    text = (ROOT / "docs" / "runbook.md").read_text() + (DEPLOY / "README.md").read_text()
    for words in re.findall(
        r"jobtrail ((?:[a-z]+(?:-[a-z]+)* ?)+)", "\n".join(re.findall(r"`[^`]*`", text))
    ):
        command, *rest = words.split()
        assert command in known.commands, words
        if rest and hasattr(known.commands[command], "commands"):
            assert rest[0] in known.commands[command].commands, words


def test_dashboard_can_be_imported_anywhere() -> None:
    """Its data source is a variable, its panels have distinct places and ids."""
    board = json.loads(DASHBOARD.read_text())
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
)
def test_prometheus_takes_it(words: tuple[str, ...]) -> None:
    done = promtool(*words, folder=DEPLOY / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    recorded = [
        {"record": f"shown:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(shown)
    ]
    file = tmp_path / "shown.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": recorded}]}))
    done = promtool("check", "rules", str(file), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def promtool(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = debian_program("promtool")
    return subprocess.run(
        [program, *words], cwd=folder, capture_output=True, text=True, check=False
    )

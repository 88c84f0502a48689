"""The files of deploy/ as data: documents of YAML, instructions of container files, commands of arcface-paddle."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TEXT_FILES = sorted(
    path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]


def containers_of(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the containers of a Deployment, StatefulSet or Job."""
    yield from manifest["spec"]["template"]["spec"]["containers"]


@dataclass(frozen=True)
class Stage:
    """One stage of a container file: its image, its name and what follows, as (instruction, text)."""

    image: str
    name: str
    instructions: tuple[tuple[str, str], ...]

    def texts(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]


def stages(path: Path) -> list[Stage]:
    """Read a container file, lines that go on put together and comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        instruction, _, text = line.partition(" ")
        assert re.fullmatch("[A-Z]+", instruction), line
        if instruction == "FROM":
            image, _, name = text.partition(" AS ")
            found.append((image, name, []))
        else:
            found[-1][2].append((instruction, text.strip()))
    return [Stage(image, name, tuple(instructions)) for image, name, instructions in found]


def commands() -> list[tuple[str, list[str]]]:
    """Return every call of arcface-paddle in deploy/, as (file, words behind the program)."""
    found: list[tuple[str, list[str]]] = []
    for path in TEXT_FILES:
        text = re.sub(r"\\\n\s*(#\s*)?", " ", path.read_text(encoding="utf-8"))
        for line in text.splitlines():
            match = re.search(r"(?:^|[/ (`])arcface-paddle ((?:[a-z]+)(?: [^`#|;&()]*)?)", line)
            if match and not line.lstrip().startswith(("name", "app")):
                found.append((path.relative_to(ROOT).as_posix(), shlex.split(match[1].strip())))
    return [(name, words) for name, words in [*found, *_listed_commands()] if words]


def _listed_commands() -> Iterator[tuple[str, list[str]]]:
    """Give the commands that are written as lists: CMD of container files, command and args of YAML."""
    for path in DEPLOY.glob("Dockerfile.?pu"):
        (text,) = stages(path)[-1].texts("CMD")
        yield path.name, yaml.safe_load(text)
    for path in DEPLOY.glob("compose/*.yaml"):
        for service in documents(path)[0].get("services", {}).values():
            if str(service.get("command", [""])[0]) == "serve":
                yield path.name, service["command"]
    for path in DEPLOY.glob("kubernetes/*/deployment.yaml"):
        for container in containers_of(documents(path)[0]):
            yield path.name, container["args"]

"""From what a user calls a model (a name or a folder) to a checked folder with a card.

A name is looked up in ``REGISTRY``: shipped models lie in the wheel (``arcface_paddle/inference_model``) or in the
checkout (``inference_model``); published archives are fetched once into the cache folder, see ``fetching``. A folder
of the user's own works with a card, or without one by a preset (``assets/preset_*.json``). An ``.onnx`` file of
insightface's alone is told by what it takes and gives, see ``foreign_models``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Union

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import cards, foreign_models
from arcface_paddle.pipeline.graph_checks import check_graph, check_weights
from arcface_paddle.pipeline.onnx_facts import read_onnx_facts
from arcface_paddle.pipeline.settings import PRESETS

HOME_VARIABLE = "ARCFACE_PADDLE_HOME"
ARCHIVE_BASE_URL = "https://paddle-model-ecology.bj.bcebos.com/model/insight-face/"

WEIGHTS_FILE = "inference.pdiparams"
TRAINING_WEIGHTS = "training.pdparams"
"""Weights beside the graph, from which a network can be trained on."""
GRAPH_FILES = ("inference.pdmodel", "inference.json", "inference.onnx")
"""Names of a model's graph, the first that exists is taken; ONNX files hold their weights themselves."""

_ASSETS = Path(__file__).parent / "assets"
_PACKAGE = Path(__file__).parent.parent
_PRESET_OF_TASK = {cards.DETECTION: "blazeface-fpn-ssh", cards.RECOGNITION: "aligned-112"}


@dataclass(frozen=True)
class RegisteredModel:
    """A model known by name: shipped with the package when ``archive`` is empty, else published for download.

    Attributes:
        name: as users type it.
        task: one of ``cards.TASKS``.
        archive: name of the published file.
        preset: of the card that the archive lacks.
        sha256: of the archive; empty where its publisher gives none and nobody here has seen the file.
    """

    name: str
    task: str
    archive: str = ""
    preset: str = ""
    sha256: str = ""

    @property
    def url(self) -> str:
        return ARCHIVE_BASE_URL + self.archive


REGISTRY = {
    model.name: model
    for model in (
        RegisteredModel("BlazeFace", cards.DETECTION),
        RegisteredModel("CenterFace", cards.DETECTION),
        RegisteredModel("MTCNN", cards.DETECTION),
        RegisteredModel("FaceFilter", cards.REFINEMENT),
        RegisteredModel("FaceRefiner", cards.REFINEMENT),
        RegisteredModel("MobileFace", cards.RECOGNITION),
        RegisteredModel("ResNet29", cards.RECOGNITION),
        RegisteredModel("FaceFusion", cards.RECOGNITION),
        RegisteredModel(
            "BlazeFace-FPN-SSH", cards.DETECTION, "blazeface_fpn_ssh_1000e_v1.0_infer.tar", "blazeface-fpn-ssh"
        ),
        RegisteredModel("MobileFace-128", cards.RECOGNITION, "mobileface_v1.0_infer.tar", "aligned-112"),
        RegisteredModel("ArcFace", cards.RECOGNITION, "arcface_iresnet50_v1.0_infer.tar", "aligned-112"),
    )
}

PUBLISHED_RECOGNIZERS = {128: "MobileFace-128", 512: "ArcFace"}
"""Names in ``REGISTRY`` of the recognisers that the published tool had, by the size of their embeddings."""


@dataclass(frozen=True)
class ModelFolder:
    """A model that is there and whose files were checked.

    Attributes:
        path: the folder, or the ``.onnx`` file that is all.
        card: its card, or the preset's under the folder's or file's name.
        graph_file: ``inference.pdmodel``, ``.json`` or ``.onnx``.
        weights_file: ``inference.pdiparams``; None for ONNX.
    """

    path: Path
    card: cards.ModelCard
    graph_file: Path
    weights_file: Optional[Path]

    def weights_sha256(self) -> str:
        """Return the hash of the file with the weights, which tells two models apart."""
        weights = self.weights_file or self.graph_file
        return self.card.files.get(weights.name) or files.sha256_of_file(weights)

    def fixed_batch(self) -> Optional[int]:
        """Return how many pictures an ONNX file takes at a time; None when that is open, or for Paddle's files."""
        return foreign_models.fixed_batch(self.graph_file) if self.graph_file.suffix == ".onnx" else None


@dataclass(frozen=True)
class FusionFolder:
    """A fusion whose members are there and were checked.

    Attributes:
        path: the folder, which holds nothing but the card.
        card: its card.
        members: their folders, in the order of the card.
    """

    path: Path
    card: cards.ModelCard
    members: tuple[ModelFolder, ...]

    @property
    def fusion(self) -> cards.FusionSpec:
        assert self.card.fusion is not None, "open_fusion has looked"
        return self.card.fusion

    def weights_sha256(self) -> str:
        """Return a hash of the members' weights and of their shares: another of either is another model."""
        return _fusion_sha256([member.weights_sha256() for member in self.members], self.fusion)

    def preprocessing_sha256(self) -> str:
        """Return a hash of all that turns a photograph into the members' crops."""
        return _sha256_of([member.card.preprocessing_sha256() for member in self.members])


def open_model(
    name_or_folder: Union[str, files.PathLike], *, task: Optional[str] = None, preset: Optional[str] = None
) -> ModelFolder:
    """Find a model, fetch it if it is a published archive, and check its files.

    Files named in the card are held against its hashes, which takes about 10 ms for the shipped models.

    Args:
        name_or_folder: a name of ``REGISTRY``, a folder, or an ``.onnx`` file.
        task: what the model must do (``cards.TASKS``); None accepts any model that has a card.
        preset: one of ``PRESETS``, for a folder without a card.

    Raises:
        ModelFileError: no such model, a file missing or damaged, a model for another task, or no network.
    """
    path = find_folder(name_or_folder)
    card = _checked_card(path, task=task, preset=preset or _preset_of(name_or_folder))
    if card.fusion is not None:
        raise ModelFileError(
            f"{path}: unites {' and '.join(card.fusion.members)}, which cut a crop each from a photograph, "
            "and has no network of its own, which is needed here; name one of its members"
        )
    graph_file = path if path.is_file() else _graph_file(path)
    if path.is_file():
        return ModelFolder(path, card, graph_file, None)
    weights_file = None if graph_file.suffix == ".onnx" else path / WEIGHTS_FILE
    check_files(path, card)
    if graph_file.name not in card.files:
        check_graph(graph_file)
    if weights_file is not None and weights_file.name not in card.files:
        check_weights(weights_file)
    return ModelFolder(path, card, graph_file, weights_file)


def find_card(
    name_or_folder: Union[str, files.PathLike], *, task: Optional[str] = None, preset: Optional[str] = None
) -> cards.ModelCard:
    """Return the card of a model without looking at its other files; arguments and errors as for ``open_model``."""
    path = find_folder(name_or_folder)
    return _checked_card(path, task=task, preset=preset or _preset_of(name_or_folder))


def open_fusion(name_or_folder: Union[str, files.PathLike]) -> FusionFolder:
    """Find a fusion and its members, and check their files.

    Raises:
        ModelFileError: no such model, none that is made of others, or a member that is missing, damaged, no
            recogniser, or made of others itself.
    """
    path = find_folder(name_or_folder)
    card = _checked_card(path, task=cards.RECOGNITION, preset=None)
    if card.fusion is None:
        raise ModelFileError(f"{path}: has a network of its own; a fusion names members in its card")
    members = tuple(_open_member(path, member) for member in card.fusion.members)
    return FusionFolder(path, card, members)


def open_networks(name_or_folder: Union[str, files.PathLike]) -> tuple[ModelFolder, ...]:
    """Return the model alone, or the members of a fusion; errors as for ``open_model`` and ``open_fusion``."""
    if find_card(name_or_folder).fusion is None:
        return (open_model(name_or_folder),)
    return open_fusion(name_or_folder).members


def local_recognizers() -> list[str]:
    """Return the names of the known recognisers that are on this machine."""
    return [
        name for name, known in REGISTRY.items() if known.task == cards.RECOGNITION and local_folder(known) is not None
    ]


def weights_sha256_of(name: str) -> str:
    """Return what tells a known model's weights from others; cards are believed, files are not hashed again."""
    path = find_folder(name)
    card = find_card(name, preset=_preset_of(name))
    if card.fusion is None:
        weights = _graph_file(path) if _graph_file(path).suffix == ".onnx" else path / WEIGHTS_FILE
        return card.files.get(weights.name) or files.sha256_of_file(weights)
    return _fusion_sha256([weights_sha256_of(member) for member in card.fusion.members], card.fusion)


def _fusion_sha256(members: Sequence[str], fusion: cards.FusionSpec) -> str:
    return _sha256_of([list(members), list(fusion.weights)])


def _open_member(fusion: Path, member: str) -> ModelFolder:
    """Open a member of a fusion: a model of the registry, or a folder beside that of the fusion."""
    beside = fusion.parent / member
    if member not in REGISTRY and not beside.is_dir():
        raise ModelFileError(f"{fusion}: its card names the member {member!r}, which is neither known nor at {beside}")
    try:
        return open_model(member if member in REGISTRY else beside, task=cards.RECOGNITION)
    except ModelFileError as error:
        raise ModelFileError(f"{fusion}: its member {member} cannot be used: {error}") from None


def find_folder(name_or_folder: Union[str, files.PathLike]) -> Path:
    """Return the folder of a model, or its ``.onnx`` file; a name of the registry goes before a folder of that name.

    Raises:
        ModelFileError: neither a known name nor a folder, or an archive that cannot be fetched.
    """
    if not isinstance(name_or_folder, (str, os.PathLike)):
        raise ModelFileError(f"a model of type {type(name_or_folder).__name__}; allowed: a known name, or its folder")
    name = os.fsdecode(name_or_folder)
    registered = REGISTRY.get(name)
    if registered is None:
        with contextlib.suppress(OSError):  # too long a name
            if Path(name).is_dir() or (name.endswith(".onnx") and Path(name).is_file()):
                return Path(name)
        if name.endswith(".onnx"):
            raise ModelFileError(f"{name}: no such file")
        raise ModelFileError(
            f"{name!r:.200} is neither a model folder nor a known model; known: {', '.join(REGISTRY)} "
            "(see 'arcface-paddle models list')"
        )
    if not registered.archive:
        return shipped_folder(registered.name)
    folder = cache_folder() / registered.name
    if not folder.is_dir():
        fetch_model(registered)
    return folder


def fetch_model(registered: RegisteredModel, *, sha256: str = "") -> str:
    """Fetch a published archive into the cache folder.

    Args:
        registered: the model.
        sha256: of the archive, where somebody knows it better than the table; hexadecimal.

    Returns:
        The SHA-256 of the archive.

    Raises:
        ModelFileError: it cannot be fetched, or is another file than the hash says.
    """
    from arcface_paddle.pipeline.fetching import fetch_archive  # brings http and TLS, for nobody else

    folder = cache_folder() / registered.name
    expected = ("inference.pdmodel", WEIGHTS_FILE)
    return fetch_archive(registered.url, folder, expected=expected, sha256=sha256 or registered.sha256)


def shipped_folder(name: str) -> Path:
    """Return where a shipped model lies: in the installed package, or beside it in a checkout.

    Raises:
        ModelFileError: the installation is incomplete.
    """
    candidates = (_PACKAGE / "inference_model" / name, _PACKAGE.parent / "inference_model" / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise ModelFileError(
        f"the shipped model {name} is missing (looked in {candidates[0]}): install arcface-paddle again"
    )


def local_folder(registered: RegisteredModel) -> Optional[Path]:
    """Return where a known model lies on this machine; None when it would have to be fetched.

    Raises:
        ModelFileError: a shipped model is missing.
    """
    if not registered.archive:
        return shipped_folder(registered.name)
    folder = cache_folder() / registered.name
    return folder if folder.is_dir() else None


def cache_folder() -> Path:
    """Return where fetched models are kept: ``$ARCFACE_PADDLE_HOME/models``, by default in ``~/.arcface_paddle``."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".arcface_paddle") / "models"


def preset_card(preset: str) -> cards.ModelCard:
    """Return the card that stands in for a missing one.

    Raises:
        ModelFileError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ModelFileError(f"preset is {preset!r}; allowed: {', '.join(PRESETS)}")
    return cards.read_card(_ASSETS / f"preset_{preset}.json")


def check_files(path: Path, card: cards.ModelCard) -> None:
    """Hold the files of a folder against the hashes of its card.

    Raises:
        ModelFileError: a file is missing or its content is not what the card says.
    """
    for name, expected in card.files.items():
        file = path / name
        if not file.is_file():
            raise ModelFileError(f"{file}: missing, though {cards.CARD_NAME} names it")
        if files.sha256_of_file(file) != expected:
            raise ModelFileError(
                f"{file}: damaged or exchanged: its SHA-256 is not the one in {cards.CARD_NAME}; restore the file, or "
                "write the card again if the change was meant"
            )


def _card_of(path: Path, *, task: Optional[str], preset: Optional[str]) -> cards.ModelCard:
    if path.is_file():
        return _card_of_file(path, preset)
    card_file = path / cards.CARD_NAME
    if card_file.exists():
        return cards.read_card(card_file)
    chosen = preset or _PRESET_OF_TASK.get(task or "")
    if chosen is None:
        raise ModelFileError(
            f"{path}: has no {cards.CARD_NAME}; say what the model is by a preset: {', '.join(PRESETS)}"
        )
    return dataclasses.replace(preset_card(chosen), name=path.resolve().name)


def _card_of_file(path: Path, preset: Optional[str]) -> cards.ModelCard:
    """Return the card of an ``.onnx`` file: by a preset, from the card beside it that names it, or by its ports."""
    read_onnx_facts(path)
    if preset is not None:
        return dataclasses.replace(preset_card(preset), name=path.stem)
    card_file = path.parent / cards.CARD_NAME
    if card_file.is_file():
        card = cards.read_card(card_file)
        if path.name in card.files:
            check_files(path.parent, card)
            return card
    presets = {name: preset_card(name) for name in (foreign_models.SCRFD, foreign_models.RECOGNIZER)}
    return foreign_models.card_of_onnx(path, presets)


def _preset_of(name_or_folder: Union[str, files.PathLike]) -> Optional[str]:
    registered = REGISTRY.get(os.fspath(name_or_folder))
    return registered.preset or None if registered else None


def _checked_card(path: Path, *, task: Optional[str], preset: Optional[str]) -> cards.ModelCard:
    card = _card_of(path, task=task, preset=preset)
    if task is not None and card.task != task:
        raise ModelFileError(f"{path}: is a model for {card.task}, not for {task}")
    return card


def _sha256_of(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode("utf-8")).hexdigest()


def _graph_file(path: Path) -> Path:
    for name in GRAPH_FILES:
        if (path / name).is_file():
            if not name.endswith(".onnx") and not (path / WEIGHTS_FILE).is_file():
                raise ModelFileError(f"{path}: holds {name} but no {WEIGHTS_FILE}")
            return path / name
    raise ModelFileError(f"{path}: holds no model; expected {' or '.join(GRAPH_FILES)}, and {WEIGHTS_FILE}")

"""``train.py --explain FOLDER``: the verdict on a run and the reasons, the weightiest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from arcface_paddle.data import FaceDataset
from arcface_paddle.errors import ArcfaceError, DataError, MissingDependencyError, ModelFileError
from arcface_paddle.evaluation.model_opening import open_embedder
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.builders import build_detector
from arcface_paddle.pipeline.settings import CROP_RECOGNIZER
from arcface_paddle.training.explain.data_rules import label_reasons, picture_reasons, sample_pictures
from arcface_paddle.training.explain.recorded_run import RecordedRun, read_run
from arcface_paddle.training.explain.run_rules import run_reasons
from arcface_paddle.training.explain.verdict import WEIGHTS, CurveVerdict, Obstacle, verdict_of
from arcface_paddle.training.run import open_training_data


@dataclass(frozen=True)
class Explanation:
    """What is known about a run.

    Attributes:
        run: what its folder tells.
        verdict: does it learn?
        reasons: what may keep it from learning, the weightiest first.
        not_looked_at: what could not be examined, and why, a line each.
    """

    run: RecordedRun
    verdict: CurveVerdict
    reasons: tuple[Obstacle, ...]
    not_looked_at: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "folder": str(self.run.folder),
            "step": self.run.step,
            "verdict": self.verdict.name.lower(),
            "loss": self.run.latest("loss"),
            "untrained_loss": self.run.untrained_loss,
            "target_cosine": self.run.latest("target_cosine"),
            "best_accuracy": self.run.best_accuracy(),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "not_looked_at": list(self.not_looked_at),
        }


def explain(folder: PathLike) -> Explanation:
    """Say whether a run learns, and look for what keeps it from learning.

    Data that have gone, and models that cannot run here, are said and not fatal: the curve and the settings are
    judged all the same.

    Raises:
        ConfigError: it is no run's folder.
        DataError: the run has not logged any loss yet.
    """
    run = read_run(folder)
    reasons = list(run_reasons(run))
    missing: list[str] = []
    try:
        dataset = open_training_data(run.config)
    except ArcfaceError as error:
        missing.append(f"the training data: {error}")
    else:
        reasons += label_reasons(dataset.labels, run.num_classes)
        reasons += _reasons_of_pictures(dataset, missing)
    once = {reason.key: reason for reason in sorted(reasons, key=lambda reason: reason.weight)}
    ordered = sorted(once.values(), key=lambda reason: -reason.weight)
    return Explanation(run, verdict_of(run), tuple(ordered), tuple(missing))


def _reasons_of_pictures(dataset: FaceDataset, missing: list[str]) -> list[Obstacle]:
    embed = _or_none(lambda: open_embedder(CROP_RECOGNIZER).embed, "labels by a recogniser", missing)
    detector = _or_none(build_detector, "alignment by a detector", missing)
    return list(picture_reasons(sample_pictures(dataset), embed=embed, detector=detector))


def _or_none(make: Callable[[], Any], what: str, missing: list[str]) -> Any:
    try:
        return make()
    except (DataError, ModelFileError, MissingDependencyError) as error:
        missing.append(f"{what}: {error}")
        return None


def explanation_text(explanation: Explanation) -> str:
    """Return the explanation for a terminal."""
    run = explanation.run
    cosine, accuracy = run.latest("target_cosine"), run.best_accuracy()
    facts = [f"loss {run.latest('loss'):.2f} (untrained: {run.untrained_loss:.2f})"]
    facts += [f"cosine to the own class centre {cosine:.2f}"] if cosine is not None else []
    facts += [f"best accuracy {accuracy:.3f}"] if accuracy is not None else []
    lines = [f"{run.folder}, step {run.step}: {explanation.verdict.value}", "  " + ", ".join(facts)]
    for number, reason in enumerate(explanation.reasons, 1):
        lines += ["", f"{number}. {reason.evidence} [{WEIGHTS[reason.weight]}: {reason.key}]", f"   {reason.remedy}"]
    if not explanation.reasons:
        lines += ["", "nothing was found that keeps a training from learning"]
    lines += [f"not looked at: {text}" for text in explanation.not_looked_at]
    return "\n".join(lines)

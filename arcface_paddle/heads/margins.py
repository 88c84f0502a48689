"""Margins: what happens to the cosine between a feature and its class centre before the softmax.

The mathematics are pure functions from cosines to a value and its derivative with respect to the cosine, both written
out by hand. A ``Margin`` holds the settings and, for the adaptive ones, running statistics; to add one, override
``target`` (and ``negatives``, if the other classes' cosines change too) and name it in ``MARGINS``.

Two rules hold for all of them:

- An angular margin pushes the angle out of [0, pi] for some cosines, where cos would turn round and reward a worse
  angle. There the value goes on as ``cos + constant``: continuous, strictly increasing in the cosine, derivative 1.
- The derivative of acos is infinite at cos = +-1. The derivative is taken at a cosine clipped to +-(1 - 1e-6), so it
  stays below 710 m1; the gradient with respect to the feature is finite there anyhow, as it holds a factor sin(angle).

Half-precision cosines are computed in float32; results have the dtype of the input.
"""

from __future__ import annotations

import math
from typing import Callable, Mapping, Optional, Union

import paddle

from arcface_paddle.errors import ConfigError

_CLIP = 1e-6  # distance from cos = +-1 at which derivatives are taken
_HALF = (paddle.float16, paddle.bfloat16)
_SCALE = 64.0  # of the published networks

Scalar = Union[float, paddle.Tensor]
ValueAndDerivative = tuple[paddle.Tensor, paddle.Tensor]


def combined_margin(cosine: paddle.Tensor, *, m1: float, m2: Scalar, m3: Scalar) -> ValueAndDerivative:
    """Return ``cos(m1 angle + m2) - m3`` and its derivative (ArcFace, https://arxiv.org/abs/1801.07698, eq. 4).

    Args:
        cosine: any shape, in [-1, 1] up to rounding.
        m1: factor on the angle, 1 or more (SphereFace).
        m2: added to the angle, in radians; a number or one per cosine (ArcFace).
        m3: taken from the cosine; a number or one per cosine (CosFace).
    """
    c = _widened(cosine)
    if m1 == 1.0 and isinstance(m2, float) and m2 == 0.0:
        value, derivative = c - m3, paddle.ones_like(c)
    else:
        value, derivative = _angular(c, m1, m2)
        value = value - m3
    return value.astype(cosine.dtype), derivative.astype(cosine.dtype)


def _angular(c: paddle.Tensor, m1: float, m2: Scalar) -> ValueAndDerivative:
    """``cos(m1 angle + m2)`` with the rule for angles outside of [0, pi]; float32 or float64."""
    shift = m2 if isinstance(m2, paddle.Tensor) else paddle.full([], m2, dtype=c.dtype)
    angle = m1 * paddle.acos(paddle.clip(c, -1.0, 1.0)) + shift
    # The cosines whose angles the margin moves to pi and to 0.
    turn_at_pi = paddle.cos(paddle.clip((math.pi - shift) / m1, 0.0, math.pi))
    turn_at_0 = paddle.cos(paddle.clip(-shift / m1, 0.0, math.pi))
    value = paddle.where(angle > math.pi, c - turn_at_pi - 1.0, paddle.cos(angle))
    value = paddle.where(angle < 0.0, c - turn_at_0 + 1.0, value)

    safe_angle = paddle.acos(paddle.clip(c, -1.0 + _CLIP, 1.0 - _CLIP))
    slope = m1 * paddle.sin(m1 * safe_angle + shift) / paddle.sin(safe_angle)
    outside = paddle.logical_or(angle > math.pi, angle < 0.0)
    # At the very border the clipped angle may lie on the other side, where the slope has the wrong sign.
    return value, paddle.where(outside, paddle.ones_like(c), paddle.clip(slope, min=0.0))


def curricular_negatives(
    cosine: paddle.Tensor, *, target_value: paddle.Tensor, hardness: paddle.Tensor
) -> ValueAndDerivative:
    """Return the modulated cosines of the other classes and their derivatives.

    A cosine above the target's value is a hard negative and becomes ``cos (t + cos)`` (CurricularFace,
    https://arxiv.org/abs/2004.00288, eq. 5); the threshold and t count as constants.

    Args:
        cosine: (B, C).
        target_value: (B,), cosine of the target with its margin.
        hardness: 0-d, t.
    """
    hard = cosine > target_value.unsqueeze(1)
    value = paddle.where(hard, cosine * (hardness + cosine), cosine)
    return value, paddle.where(hard, hardness + 2.0 * cosine, paddle.ones_like(cosine))


class Margin:
    """Base: the plain normalised softmax, which leaves all cosines alone.

    Attributes:
        scale: s, the factor on all cosines before the softmax.
        rewrites_negatives: whether ``negatives`` does anything; it costs one more (batch, classes) buffer.
        on_cosines: whether features and centres are normalised; without it the scores are those of a dense layer.
    """

    rewrites_negatives = False
    on_cosines = True

    def __init__(self, *, scale: float = 64.0) -> None:
        if not (math.isfinite(scale) and scale > 0.0):
            raise ConfigError(f"the scale of the cosines is {scale}; allowed: above 0 (published networks: 64)")
        self.scale = scale
        self._statistics: dict[str, paddle.Tensor] = {}
        self._settled: dict[str, paddle.Tensor] = {}

    def observe(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> None:
        """Update running statistics from the target cosines and the feature norms, (B,), of the global batch."""

    def target(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> ValueAndDerivative:
        """Return the value that replaces the target's cosine, and its derivative; all (B,)."""
        return cosine, paddle.ones_like(cosine)

    def negatives(self, cosine: paddle.Tensor, target_value: paddle.Tensor) -> ValueAndDerivative:
        """Return what replaces the other classes' cosines (B, C), and the derivative."""
        return cosine, paddle.ones_like(cosine)

    def state(self) -> dict[str, float]:
        """Return the running statistics for a checkpoint."""
        return {name: float(value) for name, value in self._statistics.items()}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Restore ``state()``; names that this margin does not keep are left out."""
        for name in self._statistics:
            if name in state:
                self._statistics[name] = paddle.full([], float(state[name]), dtype="float32")
        self._settled = dict(self._statistics)

    @paddle.no_grad()
    def settle(self, finite: Optional[paddle.Tensor] = None) -> None:
        """End a step: keep what ``observe`` has changed since the last one, or undo it if the step was broken.

        Args:
            finite: 0-d bool on the device; None = the step was sound.
        """
        if finite is not None:
            for name, value in self._statistics.items():
                self._statistics[name] = paddle.where(finite.reshape([]), value, self._settled[name])
        self._settled = dict(self._statistics)

    def _begin_with(self, **statistics: float) -> None:
        """Declare the running statistics and their first values."""
        self._statistics = {name: paddle.full([], value, dtype="float32") for name, value in statistics.items()}
        self._settled = dict(self._statistics)

    def _follow(self, name: str, new: paddle.Tensor, weight: float) -> None:
        """Move a statistic towards ``new``; a value that is not finite is left out."""
        old = self._statistics[name]
        moved = weight * new.astype("float32") + (1.0 - weight) * old
        self._statistics[name] = paddle.where(paddle.isfinite(moved), moved, old)


class EasedMargin(Margin):
    """A share of another margin: scores on the way from the plain cosine (0) to those of that margin (1).

    It keeps no statistics of its own; those of the other margin go on.
    """

    def __init__(self, margin: Margin, share: float) -> None:
        super().__init__(scale=margin.scale)
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"the share of a margin is {share}; allowed: 0 to 1")
        self.margin, self.share = margin, float(share)
        self.rewrites_negatives = margin.rewrites_negatives

    def observe(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> None:
        self.margin.observe(cosine, norms)

    def target(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> ValueAndDerivative:
        value, derivative = self.margin.target(cosine, norms)
        return cosine + self.share * (value - cosine), 1.0 + self.share * (derivative - 1.0)

    def negatives(self, cosine: paddle.Tensor, target_value: paddle.Tensor) -> ValueAndDerivative:
        value, derivative = self.margin.negatives(cosine, target_value)
        return cosine + self.share * (value - cosine), 1.0 + self.share * (derivative - 1.0)

    def state(self) -> dict[str, float]:
        return self.margin.state()

    def load_state(self, state: Mapping[str, float]) -> None:
        self.margin.load_state(state)

    def settle(self, finite: Optional[paddle.Tensor] = None) -> None:
        self.margin.settle(finite)


class LinearSoftmax(Margin):
    """The softmax of a dense layer over features as they are: no cosine, no scale, no margin."""

    on_cosines = False

    def __init__(self) -> None:
        super().__init__(scale=1.0)


class CombinedMargin(Margin):
    """``cos(m1 angle + m2) - m3``: ArcFace (1, .5, 0), CosFace (1, 0, .35), SphereFace (1.35, 0, 0) and mixtures."""

    def __init__(self, *, m1: float = 1.0, m2: float = 0.3, m3: float = 0.2, scale: float = 64.0) -> None:
        super().__init__(scale=scale)
        if not (1.0 <= m1 <= 16.0 and 0.0 <= m2 < math.pi and 0.0 <= m3 <= 2.0):
            raise ConfigError(f"margins are ({m1}, {m2}, {m3}); allowed: 1 <= m1 <= 16, 0 <= m2 < pi, 0 <= m3 <= 2")
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)

    def target(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> ValueAndDerivative:
        return combined_margin(cosine, m1=self.m1, m2=self.m2, m3=self.m3)


class AdaFaceMargin(Margin):
    """A margin that follows the feature norm, a measure of the picture's quality (https://arxiv.org/abs/2204.00964).

    With k = the standardised norm times ``concentration``, clipped to [-1, 1]: ``cos(angle - m k) - (m + m k)``
    (eq. 14-18). Mean and deviation of the norms are running averages over global batches (weight of the new: .01).
    """

    _FOLLOW = 0.01
    _NORM_RANGE = (0.001, 100.0)

    def __init__(self, *, margin: float = 0.4, concentration: float = 0.333, scale: float = 64.0) -> None:
        super().__init__(scale=scale)
        if not 0.0 <= margin < math.pi / 2:
            raise ConfigError(f"the margin of AdaFace is {margin}; allowed: 0 <= m < pi / 2")
        self.margin, self.concentration = float(margin), concentration
        self._begin_with(norm_mean=20.0, norm_deviation=100.0)

    def observe(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> None:
        norms = paddle.clip(norms, *self._NORM_RANGE)
        mean = norms.mean()
        deviation = paddle.sqrt((norms - mean).square().sum() / max(1, norms.shape[0] - 1))
        self._follow("norm_mean", mean, self._FOLLOW)
        self._follow("norm_deviation", deviation, self._FOLLOW)

    def target(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> ValueAndDerivative:
        norms = paddle.clip(norms, *self._NORM_RANGE)
        standardised = (norms - self._statistics["norm_mean"]) / (self._statistics["norm_deviation"] + 1e-3)
        quality = paddle.clip(standardised * self.concentration, -1.0, 1.0).astype(_widened(cosine).dtype)
        return combined_margin(cosine, m1=1.0, m2=-self.margin * quality, m3=self.margin * (1.0 + quality))


class CurricularFaceMargin(CombinedMargin):
    """ArcFace for the target, and hard negatives that gain weight as training goes on (see ``curricular_negatives``).

    t is the running average of the target cosines (eq. 7; weight of the new: .01).
    """

    rewrites_negatives = True
    _FOLLOW = 0.01

    def __init__(self, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__(m1=1.0, m2=margin, m3=0.0, scale=scale)
        self._begin_with(hardness=0.0)

    def observe(self, cosine: paddle.Tensor, norms: paddle.Tensor) -> None:
        self._follow("hardness", cosine.mean(), self._FOLLOW)

    def negatives(self, cosine: paddle.Tensor, target_value: paddle.Tensor) -> ValueAndDerivative:
        hardness = self._statistics["hardness"].astype(cosine.dtype)
        return curricular_negatives(cosine, target_value=target_value, hardness=hardness)


def _arc(scale: float, margin: Optional[float]) -> Margin:
    return CombinedMargin(m1=1.0, m2=0.5 if margin is None else margin, m3=0.0, scale=scale)


def _cos(scale: float, margin: Optional[float]) -> Margin:
    return CombinedMargin(m1=1.0, m2=0.0, m3=0.35 if margin is None else margin, scale=scale)


def _sphere(scale: float, margin: Optional[float]) -> Margin:
    return CombinedMargin(m1=1.35 if margin is None else margin, m2=0.0, m3=0.0, scale=scale)


def _ada(scale: float, margin: Optional[float]) -> Margin:
    return AdaFaceMargin(margin=0.4 if margin is None else margin, scale=scale)


def _curricular(scale: float, margin: Optional[float]) -> Margin:
    return CurricularFaceMargin(margin=0.5 if margin is None else margin, scale=scale)


def _softmax(scale: float, margin: Optional[float]) -> Margin:
    if margin:
        raise ConfigError(f"Softmax has no margin, but margin is {margin}; choose ArcFace, CosFace, ...")
    return Margin(scale=scale)


def _linear(scale: float, margin: Optional[float]) -> Margin:
    if margin or scale not in (_SCALE, 1.0):
        raise ConfigError(
            f"NormHead and CenterLoss are a dense layer without cosines: leave out scale ({scale:g}) and margin"
            + (f" ({margin:g})" if margin else "")
        )
    return LinearSoftmax()


def _combined(scale: float, margin: Optional[float]) -> Margin:
    if margin is not None:
        raise ConfigError("Combined has three margins (m1, m2, m3), not one")
    return CombinedMargin(scale=scale)  # (1, .3, .2), the mixture of the ArcFace paper


MARGINS: Mapping[str, Callable[[float, Optional[float]], Margin]] = {
    "ArcFace": _arc,
    "CosFace": _cos,
    "SphereFace": _sphere,
    "AdaFace": _ada,
    "CurricularFace": _curricular,
    "Softmax": _softmax,
    "Combined": _combined,
    "NormHead": _linear,
    "CenterLoss": _linear,
}


def build_margin(
    name: str,
    *,
    scale: float = _SCALE,
    margin: Optional[float] = None,
    combined: Optional[tuple[float, float, float]] = None,
) -> Margin:
    """Build a margin by its name in ``MARGINS``.

    Args:
        name: for example ``"ArcFace"``.
        scale: factor on the cosines.
        margin: the one margin of this kind instead of its published value.
        combined: (m1, m2, m3), for ``"Combined"`` only.

    Raises:
        ConfigError: an unknown name or a value out of range.
    """
    if name not in MARGINS:
        raise ConfigError(f"no loss {name!r}; choose from {', '.join(MARGINS)}")
    if combined is not None:
        if name != "Combined" or margin is not None:
            raise ConfigError(
                f"three margins {combined} are for the loss Combined alone, not for {name} or with margin"
            )
        m1, m2, m3 = combined
        return CombinedMargin(m1=m1, m2=m2, m3=m3, scale=scale)
    return MARGINS[name](scale, margin)


def _widened(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor.astype("float32") if tensor.dtype in _HALF else tensor

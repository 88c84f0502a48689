"""The large products in 16 bits: what Paddle does on GPUs, done here by rounding to these bits around float32 sums."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from packaging.version import Version

from arcface_paddle.heads.class_scores import CosineScores, LinearScores, Matmul
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier

BATCH, SIZE, CLASSES = 128, 512, 300
LOSS_SCALE = 32768.0


@pytest.fixture
def rounded_products(monkeypatch):
    """Let ``paddle.matmul`` multiply 16-bit tensors as cuBLAS does: sums in float32, the result in 16 bits."""
    real = paddle.matmul

    def matmul(x, y, transpose_x=False, transpose_y=False):
        if x.dtype == paddle.float32:
            return real(x, y, transpose_x=transpose_x, transpose_y=transpose_y)
        assert y.dtype == x.dtype
        wide = real(x.astype("float32"), y.astype("float32"), transpose_x=transpose_x, transpose_y=transpose_y)
        return wide.astype(x.dtype)

    monkeypatch.setattr(paddle, "matmul", matmul)


def gradients(dtype: str, *, subcentres: int = 1) -> dict[str, np.ndarray]:
    """Loss, and the gradients of features and centres without the loss scale, of one pass at ``LOSS_SCALE``."""
    settings = ClassifierSettings(CLASSES, SIZE, matmul_dtype=dtype, subcentres=subcentres, seed=1)
    classifier = ShardedClassifier(settings, build_margin("ArcFace"))
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, BATCH)
    features = random.standard_normal((BATCH, SIZE)).astype(np.float32)
    tensor = paddle.to_tensor(features, stop_gradient=False)
    loss = classifier.loss(tensor, classifier.choose_classes(labels, step=0))
    (loss * LOSS_SCALE).backward()
    return {
        "loss": loss.numpy(),
        "features": tensor.grad.numpy() / LOSS_SCALE,
        "centres": classifier.gradient() / LOSS_SCALE,
    }


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("subcentres", [1, 3])
def test_the_norms_of_the_centres_do_not_cap_the_loss_scale(rounded_products, subcentres):
    """Slopes divided by the norms of the first centres reach 72,408 here; float16 ends at 65,504."""
    exact, half = (gradients(dtype, subcentres=subcentres) for dtype in ("float32", "float16"))
    assert np.isfinite(half["centres"]).all() and np.isfinite(half["features"]).all()
    assert relative(half["features"], exact["features"]) < 2e-3
    assert relative(half["centres"], exact["centres"]) < 2e-3


# Products of float16 on CPU are summed up in float16 by Paddle 3.0 and 3.1.
_FLOAT16 = 0.03 if Version(paddle.__version__) >= Version("3.2") else 0.1


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 1e-4), ("float16", _FLOAT16)])
def test_the_scale_magnifies_no_rounding_of_logits(rounded_products, dtype, most):
    """Products that return bfloat16 leave .1 here: cosines near .7 are .004 apart in it, and the scale is 64."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLASSES, SIZE)).astype(np.float32) * 0.01
    inputs = centres[:BATCH] / 0.01 + random.standard_normal((BATCH, SIZE)).astype(np.float32)
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    expected = inputs.astype(float) @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(float).T
    found = CosineScores().of_all(paddle.to_tensor(inputs), paddle.to_tensor(centres), matmul=Matmul(dtype)).values
    assert np.abs(found.numpy() - expected).max() * 64.0 < most
    linear = LinearScores().of_all(
        paddle.to_tensor(inputs), paddle.to_tensor(np.pad(centres, ((0, 0), (0, 1)))), matmul=Matmul(dtype)
    )
    assert np.abs(linear.values.numpy() - inputs @ centres.T).max() < most


def test_gradients_in_bfloat16_are_those_of_float32(rounded_products):
    exact, half = (gradients(dtype) for dtype in ("float32", "bfloat16"))
    assert abs(half["loss"] - exact["loss"]) < 1e-5 * exact["loss"]
    assert relative(half["features"], exact["features"]) < 0.01
    assert relative(half["centres"], exact["centres"]) < 0.01

"""A slow twin of the published verification protocol: one threshold, one fold, one pair of arrays at a time.

Written from the description of the protocol, independent of the package, on purpose without any shortcut.
"""

from __future__ import annotations

import numpy as np


def kfold(count, folds=10):
    """Parts as scikit-learn's KFold(shuffle=False) makes them."""
    indices = np.arange(count)
    start = 0
    for fold in range(folds):
        stop = start + count // folds + (1 if fold < count % folds else 0)
        test = indices[start:stop]
        yield np.setdiff1d(indices, test), test
        start = stop


def confusion(threshold, distances, issame):
    predicted = np.less(distances, threshold)
    tp = np.sum(np.logical_and(predicted, issame))
    fp = np.sum(np.logical_and(predicted, np.logical_not(issame)))
    tn = np.sum(np.logical_and(np.logical_not(predicted), np.logical_not(issame)))
    return tp, fp, tn


def accuracy_over_folds(distances, issame):
    thresholds = np.arange(0, 4, 0.01)
    accuracies, chosen = [], []
    for train, test in kfold(len(distances)):
        scores = []
        for threshold in thresholds:
            tp, _, tn = confusion(threshold, distances[train], issame[train])
            scores.append(float(tp + tn) / len(train))
        best = int(np.argmax(scores))
        tp, _, tn = confusion(thresholds[best], distances[test], issame[test])
        accuracies.append(float(tp + tn) / len(test))
        chosen.append(thresholds[best])
    return np.array(accuracies), np.array(chosen)


def interpolate_last(x, y, target):
    """First-order spline through knots that may repeat: between the last knot <= target and the one after it."""
    last = max(index for index in range(len(x)) if x[index] <= target)
    if last == len(x) - 1:
        return y[last]
    return y[last] + (y[last + 1] - y[last]) * (target - x[last]) / (x[last + 1] - x[last])


def val_over_folds(distances, issame, far_target=1e-3):
    thresholds = np.arange(0, 4, 0.001)
    vals, fars = [], []
    for train, test in kfold(len(distances)):
        impostors = np.sum(~issame[train])
        far_train = []
        for threshold in thresholds:
            _, fp, _ = confusion(threshold, distances[train], issame[train])
            far_train.append(float(fp) / impostors if impostors else 0.0)
        threshold = interpolate_last(far_train, thresholds, far_target) if max(far_train) >= far_target else 0.0
        tp, fp, _ = confusion(threshold, distances[test], issame[test])
        if np.any(issame[test]):
            vals.append(float(tp) / np.sum(issame[test]))
        if np.any(~issame[test]):
            fars.append(float(fp) / np.sum(~issame[test]))
    return vals, fars


def embeddings_of(features, mirrored):
    both = np.concatenate([features, mirrored]).astype(np.float64)
    xnorm = sum(np.sqrt(np.sum(row * row)) for row in both) / len(both)
    summed = features.astype(np.float64) + mirrored.astype(np.float64)
    # scikit-learn's normalize, which the published code calls, leaves a row of zeros as it is.
    return xnorm, np.array([row / (np.sqrt(np.sum(row * row)) or 1.0) for row in summed])


def evaluate(features, mirrored, issame):
    """Run everything: accuracy, population std, XNorm, VAL, its std, FAR."""
    xnorm, embeddings = embeddings_of(features, mirrored)
    distances = np.sum(np.square(embeddings[0::2] - embeddings[1::2]), 1)
    accuracies, _ = accuracy_over_folds(distances, issame)
    vals, fars = val_over_folds(distances, issame)
    return {
        "accuracy": np.mean(accuracies),
        "std": np.std(accuracies),
        "xnorm": xnorm,
        "val": np.mean(vals) if vals else None,
        "val_std": np.std(vals) if vals else None,
        "far": np.mean(fars) if fars else None,
    }


def random_set(pairs, dimension, *, seed=0, noise=1.0, genuine=None, digits=None):
    """Make features (2N, D), mirrored features and issame; ``digits`` rounds coarsely, so that distances repeat."""
    generator = np.random.default_rng(seed)
    issame = generator.random(pairs) < 0.5 if genuine is None else np.asarray(genuine, dtype=bool)
    left = generator.normal(size=(pairs, dimension))
    right = np.where(issame[:, None], left, generator.normal(size=(pairs, dimension)))
    features = np.empty((2 * pairs, dimension), dtype=np.float32)
    features[0::2] = left + noise * generator.normal(size=left.shape)
    features[1::2] = right + noise * generator.normal(size=left.shape)
    mirrored = features + 0.1 * generator.normal(size=features.shape)
    if digits is not None:
        features, mirrored = np.round(features, digits), np.round(mirrored, digits)
    return features * 5, mirrored.astype(np.float32) * 5, issame

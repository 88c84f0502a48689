"""Class centres that start as the mean embedding of their pictures, for backbones that are trained already.

Random centres are at right angles to everything: the first gradients then undo what the backbone knows, only to bring
centres and pictures together. A rank embeds pictures of its own classes only, so nothing travels between ranks, and a
centre depends on its class and the seed alone.
"""

from __future__ import annotations

from typing import Iterator, Optional

import numpy as np

from arcface_paddle import distributed
from arcface_paddle.data import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.errors import ConfigError, DataError, ImageError
from arcface_paddle.evaluation.embedder import Embed, centre_cropped, network_embedder
from arcface_paddle.heads.sharded_classifier import ShardedClassifier
from arcface_paddle.progress import progress
from arcface_paddle.training.config import WITHOUT_COSINES
from arcface_paddle.training.run import Run, Say

_BATCH_SIZE = 64
_STREAM = 0xCE27  # sets the choice of the pictures apart from all else that the seed decides


def set_first_centres(run: Run, *, say: Say) -> None:
    """Give the class centres their start; all ranks together, before the first step.

    Raises:
        ConfigError: means are asked for, and the network starts from no face recogniser.
        DataError: the network's features are not finite.
    """
    settings, classifier = run.config.finetuning, run.classifier
    if settings.first_centres == "mean" and not run.starts_trained:
        raise ConfigError(
            f"first_centres mean: {run.config.network.pretrained} has learnt ImageNet and no faces, so that its means "
            "tell nobody from another; leave it out"
        )
    if not isinstance(classifier, ShardedClassifier):
        return
    if not starts_from_means(run):
        if run.starts_trained:
            say("the class centres start at random")
        return
    pictures, labels = choose_pictures(
        run.loader.dataset.labels,
        range(classifier.start, classifier.end),
        most=settings.centre_pictures,
        seed=run.config.run.seed,
    )
    sums = _sums(run, pictures, labels - classifier.start)
    rows, found = centres_of(sums, classifier.weight())
    classifier.load_rows(classifier.start, rows)
    distributed.barrier()
    without = sum(distributed.gather_json(len(found) - int(found.sum())))
    said = (
        f"the class centres start as the mean embeddings of their pictures, {settings.centre_pictures} at most of each"
    )
    say(said + (f"; {without} classes have no readable picture and start at random" if without else ""))


def starts_from_means(run: Run) -> bool:
    """Tell whether the centres of this run start as means."""
    if run.config.classifier.loss in WITHOUT_COSINES or not run.starts_trained:
        return False
    return run.config.finetuning.first_centres != "random"


def choose_pictures(labels: np.ndarray, classes: range, *, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most ``most`` samples of every class, the same ones whatever the other classes are.

    Args:
        labels: (N,) int64, of all samples.
        classes: whose samples are wanted.
        most: of a class.
        seed: decides which ones.

    Returns:
        Samples (M,) int64, class by class and ascending, and their labels (M,) int64.
    """
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(classes.start, classes.stop + 1))
    chosen = []
    for label, first, last in zip(classes, edges[:-1], edges[1:]):
        own = order[first:last]
        if len(own) > most:
            drawn = np.random.default_rng([_STREAM, seed, label]).choice(len(own), most, replace=False)
            own = own[np.sort(drawn)]
        chosen.append(own)
    samples = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    return samples.astype(np.int64), labels[samples].astype(np.int64)


def centres_of(sums: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit centres from the sums of their embeddings.

    A sub-centre without a picture starts as the centre of the whole class, a class without a picture as it was drawn.

    Args:
        sums: (rows, K, D) float64.
        drawn: (rows, K D) float32, the random start.

    Returns:
        Rows (rows, K D) float32, and (rows,) bool, which classes have pictures.
    """
    whole = sums.sum(axis=1, keepdims=True)
    filled = np.where(np.abs(sums).sum(axis=2, keepdims=True) > 0, sums, whole)
    lengths = np.linalg.norm(filled, axis=2, keepdims=True)
    found = np.asarray((lengths > 0).all(axis=(1, 2)))
    centres = filled / np.where(lengths > 0, lengths, 1.0)
    rows = np.where(found[:, None], centres.reshape(len(sums), -1), drawn)
    return rows.astype(np.float32), found


def _sums(run: Run, pictures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the sums (rows, K, D) float64 of the unit embeddings of pictures; sub-centre k gets every K-th of them."""
    subcentres = run.config.classifier.subcentres
    sums = np.zeros((run.classifier.end - run.classifier.start, subcentres, run.identity.embedding_size))
    was_training = run.network.training
    run.network.eval()
    embedder = network_embedder(run.network)
    embed = (centre_cropped(embedder) if run.config.data.ccrop else embedder).embed
    counts = np.zeros(len(sums), np.int64)
    try:
        for embeddings, places in _embedded(run.loader.dataset, pictures, embed=embed, workers=_workers(run)):
            own = rows[places]
            for row, embedding in zip(own, embeddings):
                sums[row, counts[row] % subcentres] += embedding
                counts[row] += 1
    finally:
        if was_training:
            run.network.train()
    return sums


def _embedded(
    dataset: FaceDataset, pictures: np.ndarray, *, embed: Embed, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the unit embeddings (n, D) of some pictures after the other, and their places; unreadable ones are left out.

    Raises:
        DataError: features that are not finite.
    """

    def read(start: int) -> list[tuple[int, np.ndarray]]:
        places = range(start, min(start + _BATCH_SIZE, len(pictures)))
        read_ones = ((place, _read(dataset, int(pictures[place]))) for place in places)
        return [(place, crop) for place, crop in read_ones if crop is not None]

    starts = range(0, len(pictures), _BATCH_SIZE)
    with progress(total=len(pictures), desc="class centres", unit="img", shown=distributed.is_main()) as bar:
        for crops in ordered_map(read, starts, workers=workers):
            bar.update(_BATCH_SIZE)
            if not crops:
                continue
            features = embed(np.stack([crop for _, crop in crops])).astype(np.float64)
            if not np.isfinite(features).all():
                raise DataError("first_centres: features that are not finite: the weights of --pretrained are damaged")
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            yield features / np.where(lengths > 0, lengths, 1.0), np.array([place for place, _ in crops])


def _read(dataset: FaceDataset, index: int) -> Optional[np.ndarray]:
    """Decode a picture; None where that is not possible, which the loader reports when it comes to it."""
    try:
        return dataset.read_image(index)
    except (DataError, ImageError):
        return None


def _workers(run: Run) -> int:
    return max(1, run.loader.options.workers)

"""Grouping of faces by person: quality, time and memory by the kind and size of the library, against other methods.

Rendered people have 1 to ``--most`` pictures (log-uniform), one in ten is a stranger seen once; ``--parts`` groups
small parts of them. Larger libraries are drawn (``drawn_faces``): ``--drawn`` after the rendered people, ``--card``
after what the recogniser's card says of photographs, ``--once`` likewise where most people are seen once. Drawn faces
serve for time, memory and for how quality changes with the library's size; they are kinder than real ones.

Baselines in the same run: average linkage at a fixed similarity of .55, connected components at .65, and DBSCAN
(scikit-learn, at least 2 faces within a similarity of .65), on the recogniser's own similarity.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from arcface_paddle.library.grouping.evidence import plain_evidence
from arcface_paddle.library.grouping.graph import mutual_edges, nearest
from arcface_paddle.library.grouping.linkage import average_linkage
from arcface_paddle.library.grouping.scores import score_groups
from arcface_paddle.library.grouping.search import EXACT_UNITS, Recognition, find_people
from arcface_paddle.library.grouping.spread import spread_of
from arcface_paddle.pipeline.opening import ALIGNED, PipelineSettings, open_pipeline
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.progress import progress
from arcface_paddle.synthetic.generator import SyntheticFaces
from benchmarks import drawn_faces

NAME = "grouping"
FIXED_CUT, FIXED_LINK = 0.55, 0.65


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recognizer", default="FaceFusion")
    parser.add_argument("--seeds", type=int, nargs="*", default=[404], help="of rendered populations (%(default)s)")
    parser.add_argument("--people", type=int, default=200, help="of each (%(default)s)")
    parser.add_argument("--parts", type=int, nargs="*", default=[10], help="also group parts of so many people")
    parser.add_argument("--most", type=int, default=60, help="pictures of a person (%(default)s)")
    parser.add_argument("--drawn", type=int, nargs="*", default=[1000], help="people of libraries like rendered ones")
    parser.add_argument("--card", type=int, nargs="*", default=[10, 200, 1000, 10_000], help="... as the card says")
    parser.add_argument("--once", type=int, nargs="*", default=[4319], help="... most of whom are seen once")
    parser.add_argument("--drawn_most", type=int, help="pictures of a drawn person (default: --most; 12 from 10,000)")
    parser.add_argument("--exact", type=int, default=EXACT_UNITS, help="faces up to which the linkage is exact")
    parser.add_argument("--embeddings", help="file of the rendered people's embeddings, made when it is missing")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    recognition, populations = _rendered(args)
    for seed, (vectors, people) in zip(args.seeds, populations):
        rows += _compared(f"rendered, seed {seed}", vectors, people, recognition, args.exact)
        for size in args.parts:
            rows.append(_parts(seed, vectors, people, recognition, size))
    for name, vectors, people in _drawn(args, recognition, populations[0]):
        rows += _compared(name, vectors, people, recognition, args.exact)
    return rows


def _drawn(
    args: argparse.Namespace, recognition: Recognition, rendered: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give the name, embeddings and people of each drawn library."""
    for count in args.drawn:
        rng = np.random.default_rng(count)
        sizes = drawn_faces.log_uniform_sizes(count, most=_most(args, count), rng=rng)
        yield f"drawn like seed {args.seeds[0]}", *drawn_faces.like_rendered(*rendered, sizes=sizes, rng=rng)
    spec, width = recognition.similarity, rendered[0].shape[1]
    for count in args.card:
        rng = np.random.default_rng(count)
        sizes = drawn_faces.log_uniform_sizes(count, most=_most(args, count), rng=rng)
        yield "drawn like the card", *drawn_faces.like_card(spec, width=width, sizes=sizes, rng=rng)
    for count in args.once:
        rng = np.random.default_rng(count)
        sizes = drawn_faces.mostly_once_sizes(count, rng=rng)
        yield "drawn like the card, most once", *drawn_faces.like_card(spec, width=width, sizes=sizes, rng=rng)


def _most(args: argparse.Namespace, people: int) -> int:
    """Return how many pictures a drawn person may have: in very large libraries few, so that a run ends."""
    return int(args.drawn_most or (args.most if people < 10_000 else min(args.most, 12)))


def _parts(seed: int, vectors: np.ndarray, people: np.ndarray, recognition: Recognition, size: int) -> dict[str, Any]:
    """Group parts of a population one by one; the figures are their means."""
    scores = []
    for first in range(0, int(people.max()) + 2 - size, size):
        part = (people >= first) & (people < first + size)
        scores.append(score_groups(_ours(vectors[part], recognition, EXACT_UNITS), people[part]))
    row = {"library": f"rendered, seed {seed}: {len(scores)} parts of {size} people", "method": "arcface-paddle people"}
    return {
        **row,
        **{key: float(np.mean([value[key] for value in map(_figures, scores)])) for key in _figures(scores[0])},
    }


def _compared(
    library: str, vectors: np.ndarray, people: np.ndarray, recognition: Recognition, exact: int
) -> list[dict[str, Any]]:
    count = len(np.unique(people))
    methods: dict[str, Callable[[], np.ndarray]] = {
        "arcface-paddle people": lambda: _ours(vectors, recognition, exact),
        f"components at {FIXED_LINK}": lambda: _components(vectors, recognition),
    }
    if len(vectors) <= EXACT_UNITS:
        methods[f"average linkage at {FIXED_CUT}"] = lambda: _fixed_linkage(vectors, recognition)
        methods[f"DBSCAN at {FIXED_LINK}"] = lambda: _dbscan(vectors, recognition)
    rows = []
    for name, method in methods.items():
        begin = time.perf_counter()
        groups = method()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = {"library": library, "people": count, "faces": len(vectors), "method": name}
        rows.append({**row, **_figures(score_groups(groups, people)), "seconds": seconds, "peak GiB so far": peak})
    return rows


def _figures(scores: Any) -> dict[str, float]:
    return {
        "pair precision": scores.pair_precision,
        "pair recall": scores.pair_recall,
        "pair F": scores.pair_f,
        "B-cubed F": scores.bcubed_f,
    }


def _ours(vectors: np.ndarray, recognition: Recognition, exact: int) -> np.ndarray:
    alone = np.arange(len(vectors))
    none = np.empty((0, 2), np.int64)
    rng = np.random.default_rng(13)
    return find_people(vectors, alone, none, recognition=recognition, rng=rng, exact_units=exact).groups


def _fixed_linkage(vectors: np.ndarray, recognition: Recognition) -> np.ndarray:
    evidence = plain_evidence(vectors, recognition.similarity)
    everything = np.arange(len(vectors))
    return average_linkage(evidence.between(everything, everything), np.ones(len(vectors)), cut=FIXED_CUT)


def _components(vectors: np.ndarray, recognition: Recognition) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, scores = nearest(plain_evidence(vectors, recognition.similarity), 50)
    ones, others, weights = mutual_edges(rows, scores, least=FIXED_LINK)
    graph = coo_matrix((weights, (ones, others)), shape=(len(vectors), len(vectors)))
    return np.asarray(connected_components(graph, directed=False)[1])


def _dbscan(vectors: np.ndarray, recognition: Recognition) -> np.ndarray:
    from sklearn.cluster import DBSCAN

    radius = 1 - recognition.similarity.cosine_of(FIXED_LINK)
    groups = DBSCAN(eps=radius, min_samples=2, metric="cosine").fit_predict(vectors)
    return np.where(groups < 0, len(vectors) + np.arange(len(vectors)), groups)


def _rendered(args: argparse.Namespace) -> tuple[Recognition, list[tuple[np.ndarray, np.ndarray]]]:
    """Return what the grouping knows of the recogniser, and embeddings and people of each seed."""
    pipeline = open_pipeline(PipelineSettings(rec_model=args.recognizer), contents=ALIGNED)
    recognizer, model = pipeline.analyzer.recognizer, pipeline.model
    assert recognizer is not None and recognizer.card.recognizer is not None and model is not None
    spec = recognizer.card.recognizer
    spread = spread_of(model.weights_sha256, mirrored=model.mirrored)
    recognition = Recognition(spec.similarity, spec.calibration, spread)
    stored: dict[str, np.ndarray] = {}
    if args.embeddings:
        try:
            with np.load(args.embeddings) as archive:
                stored = dict(archive)
        except FileNotFoundError:
            pass
    for seed in args.seeds:
        if f"{seed}.vectors" not in stored:
            stored[f"{seed}.vectors"], stored[f"{seed}.people"] = _population(seed, args, pipeline.analyzer)
    if args.embeddings:
        np.savez(args.embeddings, **stored)
    return recognition, [(stored[f"{seed}.vectors"], stored[f"{seed}.people"]) for seed in args.seeds]


def _population(seed: int, args: argparse.Namespace, analyzer: Any) -> tuple[np.ndarray, np.ndarray]:
    faces = SyntheticFaces(seed, size=112)
    vectors, people = [], []
    for person in progress(range(args.people), desc=f"rendering seed {seed}", unit="person"):
        rng = np.random.default_rng([seed, person])
        count = 1 if rng.random() < 0.1 else round(args.most ** rng.random())
        for image in range(count):
            crop = faces.render(person, image).image
            vectors.append(require_embedding(analyzer.analyze(crop).faces[0]))
            people.append(person)
    return np.stack(vectors), np.array(people)

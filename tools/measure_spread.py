"""Measure how embeddings of one person differ, on rendered people, and write library/grouping/assets/spread.npz.

    python tools/measure_spread.py --seeds 202 303 --people 120 --most 30

The seeds are not those on which the grouping is benchmarked. A person has 1 to ``--most`` crops, their number
log-uniform, so that as many are seen rarely as often.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arcface_paddle import files
from arcface_paddle.library.grouping.evidence import within_scatter
from arcface_paddle.library.grouping.spread import ASSET, packed
from arcface_paddle.pipeline.opening import ALIGNED, PipelineSettings, open_pipeline
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.progress import progress
from arcface_paddle.synthetic.generator import SyntheticFaces

RECOGNIZERS = ("MobileFace", "ResNet29", "FaceFusion")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[202, 303])
    parser.add_argument("--people", type=int, default=120, help="of each seed (%(default)s)")
    parser.add_argument("--most", type=int, default=30, help="pictures of a person (%(default)s)")
    parser.add_argument("--output", type=Path, default=ASSET)
    args = parser.parse_args()
    crops, labels = render(args.seeds, args.people, args.most)
    arrays: dict[str, np.ndarray] = {}
    for name in RECOGNIZERS:
        arrays.update(measure(name, crops, labels))
    with files.atomic_writer(args.output) as stream:
        np.savez_compressed(stream, **arrays)
    print(f"{args.output}: {len(crops)} crops of {len(set(labels.tolist()))} people")
    return 0


def render(seeds: list[int], people: int, most: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return aligned crops (112, 112, 3) and the person of each."""
    crops, labels = [], []
    for number, seed in enumerate(seeds):
        faces = SyntheticFaces(seed, size=112)
        for person in progress(range(people), desc=f"rendering seed {seed}", unit="person"):
            count = round(most ** np.random.default_rng([seed, person]).random())
            crops += [faces.render(person, image).image for image in range(count)]
            labels += [number * people + person] * count
    return crops, np.array(labels)


def measure(name: str, crops: list[np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of one recogniser, with mirrored faces as by default."""
    pipeline = open_pipeline(PipelineSettings(rec_model=name), contents=ALIGNED)
    assert pipeline.model is not None
    vectors = [
        require_embedding(pipeline.analyzer.analyze(crop).faces[0]) for crop in progress(crops, desc=name, unit="crop")
    ]
    scatter, freedom = within_scatter(np.stack(vectors), labels)
    return packed(scatter / freedom, weights_sha256=pipeline.model.weights_sha256, mirrored=pipeline.model.mirrored)


if __name__ == "__main__":
    sys.exit(main())

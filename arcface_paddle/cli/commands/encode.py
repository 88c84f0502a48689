"""Turn photographs into embeddings: faces are found and aligned by the same pipeline that recognises them.

arcface-paddle encode photos --output embeddings.npz
arcface-paddle encode people --output embeddings.h5         a folder per person gives one HDF5 group per person

The suffix of --output chooses the format: .npy (the matrix only), .npz, .h5 or .hdf5, .parquet.
exit codes: 0 all encoded, 1 some pictures could not be (each is reported), 2 error, nothing written
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from tqdm import tqdm

from arcface_paddle import files, images
from arcface_paddle.cli import flags, writable
from arcface_paddle.cli.console import complain
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import Analyzer
from arcface_paddle.pipeline.embedding_files import EmbeddingTable, check_suffix, write_embeddings
from arcface_paddle.pipeline.opening import ALIGNED, DETECT, open_pipeline
from arcface_paddle.types import Face


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="PATH", help="pictures, or folders that are searched to any depth")
    parser.add_argument("--output", required=True, metavar="FILE", help=".npy, .npz, .h5, .hdf5 or .parquet")
    parser.add_argument(
        "--faces",
        choices=("one", "largest", "all"),
        default="one",
        help="pictures with several faces: report them (one), take the largest, or take all (%(default)s)",
    )
    parser.add_argument("--aligned", action="store_true", help="pictures are aligned crops already; find no faces")
    flags.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    check_suffix(args.output)
    writable.require_writable_file(args.output, option="--output")
    pictures = list_inputs(args.inputs)
    pipeline = open_pipeline(flags.pipeline_settings(args), contents=ALIGNED if args.aligned else DETECT)
    assert pipeline.model is not None
    rows: list[tuple[Face, str, str]] = []
    failed = 0
    for path, person in tqdm(pictures, unit="picture", disable=None):
        try:
            faces = choose_faces(pipeline.analyzer, path, wanted=args.faces)
        except ImageError as error:
            complain(str(error))
            failed += 1
            continue
        rows += [(face, files.printable(person), files.printable(path)) for face in faces]
    if not rows:
        raise ImageError(f"none of {len(pictures)} pictures gave an embedding; {args.output} was not written")
    table = make_table(rows, model=f"{pipeline.model.name} sha256:{pipeline.model.weights_sha256}")
    write_embeddings(args.output, table)
    size = table.embeddings.shape
    print(f"{args.output}: {size[0]} embeddings of {size[1]} values from {len(pictures) - failed} pictures")
    return EXIT_PARTIAL if failed else EXIT_OK


def list_inputs(inputs: Sequence[str]) -> list[tuple[Path, str]]:
    """Return pictures and persons; inside a folder, the person is the folder that holds the picture.

    Raises:
        ImageError: an input that does not exist, or a folder without pictures.
    """
    found: list[tuple[Path, str]] = []
    for text in inputs:
        root = Path(text)
        if not root.exists():
            raise ImageError(f"{root}: no such file or folder")
        if root.is_file():
            found.append((root, ""))
            continue
        inside = sorted(path for path in root.rglob("*") if path.is_file() and images.is_image_path(path))
        if not inside:
            raise ImageError(f"{root}: the folder holds no pictures")
        found += [(path, path.parent.name if path.parent != root else "") for path in inside]
    return found


def choose_faces(analyzer: Analyzer, path: Path, *, wanted: str) -> Sequence[Face]:
    """Return the faces of one picture that are encoded.

    Raises:
        ImageError: unreadable, without a face, or with several when one is wanted.
    """
    faces = analyzer.analyze(images.read_image(path), source=files.printable(path)).faces
    if not faces:
        raise ImageError(f"{files.printable(path)}: no face found")
    if wanted == "one" and len(faces) > 1:
        raise ImageError(f"{files.printable(path)}: {len(faces)} faces; choose with --faces largest or --faces all")
    return faces if wanted == "all" else faces[:1]


def make_table(rows: Sequence[tuple[Face, str, str]], *, model: str) -> EmbeddingTable:
    """Put faces, persons and sources into one table."""
    return EmbeddingTable(
        embeddings=np.stack([require_embedding(face) for face, _, _ in rows]),
        persons=[person for _, person, _ in rows],
        sources=[source for _, _, source in rows],
        boxes_xyxy=np.stack([face.detection.box_xyxy for face, _, _ in rows]).astype(np.float32),
        model=model,
    )


def require_embedding(face: Optional[Face]) -> np.ndarray:
    """Return a face's embedding (D,) float32. Raises ``ConfigError`` when no recogniser ran."""
    if face is None or face.embedding is None:
        raise ConfigError("no recogniser ran on this face")
    return face.embedding

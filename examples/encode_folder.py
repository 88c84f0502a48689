"""Turn all faces of a folder into one file of embeddings, and show which two pictures are most alike.

The file holds embeddings, boxes, and the picture and person of each; NumPy reads it. From the repository's root:

    python examples/encode_folder.py demo/queries output/faces.npz
"""

import argparse

import numpy as np

from arcface_paddle import PipelineSettings, open_pipeline
from arcface_paddle.pipeline.embedding_files import write_embeddings
from arcface_paddle.pipeline.encoding import encode_pictures, make_table
from arcface_paddle.pipeline.inputs import find_pictures
from arcface_paddle.pipeline.picture_workers import PictureWorkers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("output", help=".npz, .npy, .h5 or .parquet")
    args = parser.parse_args()

    pipeline = open_pipeline(PipelineSettings())
    pictures = find_pictures([args.folder]).pictures
    encoded = list(encode_pictures(PictureWorkers(pipeline.analyzer), pictures, faces="all"))
    for picture in encoded:
        print(f"{picture.source}: {picture.problem or f'{len(picture.faces)} faces'}")
    table = make_table(encoded, model=pipeline.model.name)
    write_embeddings(args.output, table)

    cosines = table.embeddings @ table.embeddings.T  # embeddings are L2-normalised
    np.fill_diagonal(cosines, -1)
    first, second = np.unravel_index(cosines.argmax(), cosines.shape)
    print(f"{len(table.embeddings)} faces of {table.embeddings.shape[1]} numbers in {args.output}")
    print(f"most alike: {table.sources[first]} and {table.sources[second]}, cosine {cosines[first, second]:.2f}")


if __name__ == "__main__":
    main()

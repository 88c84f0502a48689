"""Keep a gallery file: enrol a person from a picture, then list who is most like the faces of another picture.

The file is made when it is not there. From the repository's root:

    python examples/gallery_search.py output/people.index enrol "Eileen Collins" demo/queries/stranger_collins.jpg
    python examples/gallery_search.py output/people.index search demo/queries/group.jpg
"""

import argparse
from pathlib import Path

from arcface_paddle import Gallery, ImageError, PipelineSettings, open_pipeline
from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.opening import OpenPipeline


def enrol(file: Path, name: str, picture: str, *, pipeline: OpenPipeline) -> None:
    faces = pipeline.analyzer.analyze(picture).faces
    if len(faces) != 1:
        raise ImageError(f"{picture} shows {len(faces)} faces; a portrait for a gallery shows one")
    gallery = Gallery.load(file) if file.exists() else Gallery.empty(pipeline.model)
    gallery = gallery.with_faces([GalleryEntry(name, picture)], faces[0].embedding[None])
    file.parent.mkdir(parents=True, exist_ok=True)
    gallery.save(file)
    print(f"{file}: {len(gallery.names)} people, {len(gallery)} faces")


def search(file: Path, picture: str) -> None:
    analyzer = open_pipeline(PipelineSettings(), gallery=Gallery.load(file)).analyzer
    for number, face in enumerate(analyzer.analyze(picture).faces, start=1):
        likest = ", ".join(f"{one.name} {one.similarity:.2f}" for one in face.candidates)
        print(f"face {number}: {face.name}; most like {likest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path)
    actions = parser.add_subparsers(dest="action", required=True)
    enrolling = actions.add_parser("enrol", help="add a person's face")
    enrolling.add_argument("name")
    for action in (enrolling, actions.add_parser("search", help="list the most similar people")):
        action.add_argument("picture")
    args = parser.parse_args()
    if args.action == "enrol":
        enrol(args.gallery, args.name, args.picture, pipeline=open_pipeline(PipelineSettings()))
    else:
        search(args.gallery, args.picture)


if __name__ == "__main__":
    main()

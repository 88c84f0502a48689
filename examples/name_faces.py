"""Name the faces of all pictures in a folder, and save the pictures with boxes and names.

People are portraits in folders of their own: ``people/Ada Lovelace/1.jpg``. From the repository's root:

    python examples/name_faces.py demo/gallery demo/queries output/named
"""

import argparse
from pathlib import Path

from arcface_paddle import Gallery, ImageError, PipelineSettings, open_pipeline
from arcface_paddle.pipeline.gallery.enrolment import EnrolmentSettings, build_gallery, list_people
from arcface_paddle.pipeline.inputs import find_pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", help="one folder per person, with a few portraits")
    parser.add_argument("pictures", help="pictures whose faces get names")
    parser.add_argument("output", type=Path, help="folder for the annotated pictures")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    gallery_file = args.output / "people.index"
    people = list_people(EnrolmentSettings(args.people))
    built = build_gallery(gallery_file, people, pipeline=open_pipeline(PipelineSettings()))
    print(f"{built.people} people, {built.faces} faces; without a face: {len(built.rejected)}")

    analyzer = open_pipeline(PipelineSettings(), gallery=Gallery.load(gallery_file)).analyzer
    for picture in find_pictures([args.pictures]).pictures:
        try:
            result = analyzer.analyze(picture.path)
        except ImageError as error:  # a damaged file does not end the run
            print(error)
            continue
        print(f"{picture.path.name}: {', '.join(f'{face.name} ({face.similarity:.2f})' for face in result.faces)}")
        result.save(args.output / f"{picture.path.stem}.png")


if __name__ == "__main__":
    main()

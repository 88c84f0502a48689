"""Rebuild the photographs of demo/ from the public packages that carry them; DEMO_PHOTOS.md records the licences.

    python demo/make_photos.py --face_recognition face_recognition-1.3.0/tests/test_images \
        --astronaut skimage/data/astronaut.png --hopper matplotlib/mpl-data/sample_data/grace_hopper.jpg

Joe Biden, Grace Hopper and Eileen Collins have one public-domain photograph each in those packages. The queries of the
first two are therefore made from the gallery's photograph: mirrored, relit, smaller and compressed harder.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

from arcface_paddle.images import picture_formats

HERE = Path(__file__).parent
GROUP_HEIGHT = 700


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--face_recognition", type=Path, required=True, help="folder tests/test_images")
    parser.add_argument("--astronaut", type=Path, required=True)
    parser.add_argument("--hopper", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=HERE)
    args = parser.parse_args()
    # Boxes are fractions of width and height; the second picture is cut so that a bystander's cheek is left out.
    portrait = open_cut(args.face_recognition / "obama.jpg", (0, 0, 1, 1))
    speech = open_cut(args.face_recognition / "obama2.jpg", (0, 0, 0.86, 0.9))
    blue_room = open_cut(args.face_recognition / "obama3.jpg", (0.15, 0, 0.9, 0.6))
    biden = open_cut(args.face_recognition / "biden.jpg", (0, 0, 1, 0.6))
    hopper = open_cut(args.hopper, (0, 0, 1, 1))
    collins = open_cut(args.astronaut, (0, 0, 1, 1))
    pictures = {
        "gallery/Barack Obama/portrait_2012.jpg": portrait,
        "gallery/Joe Biden/portrait_2013.jpg": biden,
        "gallery/Grace Hopper/portrait_1984.jpg": hopper,
        "queries/obama_speech_2009.jpg": speech,
        "queries/obama_blue_room.jpg": blue_room,
        "queries/biden_relit.jpg": relight(biden, brightness=1.25, width=420),
        "queries/hopper_relit.jpg": relight(hopper, brightness=0.75, width=320),
        "queries/stranger_collins.jpg": collins,
    }
    pictures["queries/group.jpg"] = side_by_side(
        [
            blue_room.crop((200, 0, 900, 1000)),
            pictures["queries/hopper_relit.jpg"],
            collins.crop((90, 0, 420, 400)),
            pictures["queries/biden_relit.jpg"],
        ]
    )
    for name, picture in pictures.items():
        path = args.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.thumbnail((1400, 1400))
        picture.save(path, quality=88)
    people = [name.split("/")[1:] for name in pictures if name.startswith("gallery/")]
    lines = "".join(f"{person}/{file}\t{person}\n" for person, file in people)
    (args.output / "gallery" / "label.txt").write_text(lines, encoding="utf-8")


def open_cut(path: Path, box: tuple[float, float, float, float]) -> Image.Image:
    image = Image.open(path, formats=picture_formats()).convert("RGB")
    width, height = image.size
    return image.crop((int(box[0] * width), int(box[1] * height), int(box[2] * width), int(box[3] * height)))


def relight(image: Image.Image, *, brightness: float, width: int) -> Image.Image:
    """Mirror, shrink, change brightness and contrast, soften and compress, as another camera might have."""
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(0.85)
    buffer = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(0.6)).save(buffer, "JPEG", quality=60)
    return Image.open(buffer, formats=["JPEG"]).convert("RGB")


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """Put pictures next to each other, each at another height, on a soft grey ground."""
    scaled = []
    for index, image in enumerate(images):
        height = GROUP_HEIGHT - 90 * (index % 3)
        scaled.append(image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS))
    ground = Image.new("RGB", (sum(i.width for i in scaled), GROUP_HEIGHT), (150, 150, 146))
    left = 0
    for image in scaled:
        ground.paste(image, (left, GROUP_HEIGHT - image.height))
        left += image.width
    return ground


if __name__ == "__main__":
    main()

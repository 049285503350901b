"""A folder of images, one folder a class → arrays. Pillow reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data_file.columns import listed
from pipeline.decoded import read_files
from pipeline.errors import BadInput
from pipeline.study_file import home_of

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

MAX_SIDE = 32
"""Of images whose size nobody says: a convolution's cost grows with their area."""

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "eval"}
SIDEWAYS = (5, 6, 7, 8)
"""EXIF's orientations of an image that lies on its side."""

Shape = tuple[int, int, int]
"""Height, width and channels: 1, grey, or 3, colours."""


@dataclass(frozen=True)
class ImageFolder:
    """The images in a folder.

    files: ordered by their paths
    classes: the name of the folder, among those of the first level, that each lies in
    n_others: files that are no images
    """

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    n_others: int


def read_images(
    folder: str | Path, shape: Shape, *, project_of: str | Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return images, [n_images, height, width, channels] uint8, and their folders' names.

    Stretched to the size that is asked for, and upright, as their EXIF data say.

    project_of: a study file; a relative folder begins at the project that holds it
    Raises BadInput when there is no such folder, or what it holds is not images by class, and
    names images that cannot be read.
    """
    found = images_in(home_of(Path(project_of).resolve()) / folder)
    height, width, channels = shape
    decode = functools.partial(decode_image, shape=(height, width, channels))
    return read_files(found.files, decode, project_of=project_of), np.array(found.classes)


def images_in(folder: Path) -> ImageFolder:
    """Return the images of a folder that has a folder for each class. Nothing is read."""
    if not folder.is_dir():
        raise BadInput(f"image folder {str(folder)!r} does not exist")
    files = sorted(
        path
        for path in folder.rglob("*")
        if not path.is_dir()
        and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    )
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    classes = [path.relative_to(folder).parts[0] for path in images]
    loose = [path.name for path in images if path.parent == folder]
    if loose or len(set(classes)) < 2:
        got = f"{len(loose)} in no folder, {loose[0]!r} first" if loose else listed(set(classes))
        raise BadInput(
            f"{folder.name} must have a folder for each class, two or more, with images "
            f"({', '.join(SUFFIXES)}) in them, got {got or 'no image'}"
        )
    if {name.lower() for name in classes} <= SPLITS:
        raise BadInput(
            f"{folder.name} must have a folder for each class, got {listed(sorted(set(classes)))}: "
            f"search {folder.name}/{min(set(classes))} or the like; folds are made of its images"
        )
    return ImageFolder(tuple(images), tuple(classes), len(files) - len(images))


def shape_for(
    found: ImageFolder,
    size: tuple[int, int] | None,
    channels: int | None,
    *,
    project_of: str | Path,
) -> tuple[Shape, str]:
    """Return the shape that images are read in, and why, in words.

    size: height and width that are asked for; None is theirs if they are all alike and small, or
        else their median, made smaller
    channels: 1 or 3 that are asked for; None is 3 if any image has colours
    project_of: a study file, in whose project it is kept what was found
    Raises BadInput, naming images that cannot be read.
    """
    looks = np.asarray(read_files(found.files, look_at, project_of=project_of))
    sizes = looks[:, :2]
    n_colour = int(looks[:, 2].sum())
    channels = channels or (3 if n_colour else 1)
    smallest, largest = sizes.min(axis=0), sizes.max(axis=0)
    are_alike = bool((smallest == largest).all())
    got = _by(smallest) if are_alike else f"{_by(smallest)} to {_by(largest)}"
    if size is None:
        is_small = are_alike and smallest.min() >= 4 and largest.max() <= MAX_SIDE
        height, width = smallest if is_small else _smaller(np.median(sizes, axis=0))
        size = (int(height), int(width))
    is_resized = not are_alike or tuple(smallest) != size
    told = f"{len(looks)} images of {got} pixels"
    if is_resized:
        told += f", stretched to {_by(size)} (--image-size overrides)"
    told += ", read as grey" if channels == 1 else ", read in colour"
    if 0 < n_colour < len(looks):
        told += f" ({n_colour} have colours)"
    if found.n_others:
        told += f"; left out: {found.n_others} file(s) that are no images"
    return (*size, channels), told


def look_at(file: Path) -> tuple[int, int, bool]:
    """Return an image's height and width, and whether it has colours, without decoding it."""
    from PIL import ExifTags, Image

    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS:
            width, height = height, width
        return height, width, Image.getmodebase(image.mode) != "L"


def decode_image(file: Path, *, shape: Shape) -> np.ndarray:
    """Return an image as [height, width, channels] uint8."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    with Image.open(file, formats=FORMATS) as opened:
        opened.draft(mode, (max(height, width),) * 2)  # a large JPEG, decoded in a smaller size
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode == "P":
        image = image.convert("RGBA")
    image = image.convert(mode)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(shape)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Return pixels of 16 bits as 8: Pillow itself would cut them off at 255."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() >= 2**16:
        raise BadInput(
            f"pixels of 8 or 16 bits are needed, got {pixels.dtype} from {pixels.min()} to "
            f"{pixels.max()}: decode such files in a study, by pipeline.read_files"
        )
    return (pixels >> 8).astype(np.uint8)


def _smaller(size: np.ndarray) -> np.ndarray:
    """Return a size within MAX_SIDE of about this shape; layers that halve it come out even."""
    return np.maximum(4, 4 * np.rint(size * min(1, MAX_SIDE / size.max()) / 4))


def _by(size: tuple[int, ...] | np.ndarray) -> str:
    return " × ".join(map(str, size))

"""A folder of images is searched as a data file is: what is decided of it, and what is refused."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.cli import search_options
from pipeline.data import load
from pipeline.data_file.asked import Asked, is_data_file
from pipeline.data_file.images import decode_image, images_in, read_images, shape_for
from pipeline.errors import BadInput
from tests.data_file.tables import spec_for, text_for

RANDOM = np.random.default_rng(0)


def image(height=8, width=8, mode="L"):
    colours = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(colours).convert(mode)


def folder(home: Path, n_images=4, classes=("cat", "dog"), **of_image) -> Path:
    for name in classes:
        (home / "pets" / name).mkdir(parents=True)
        for number in range(n_images):
            image(**of_image).save(home / "pets" / name / f"{number}.png")
    return home / "pets"


def decided(path: Path, size=None, channels=None):
    return shape_for(images_in(path), size, channels, project_of=path.parent / "study.py")


def test_the_written_study_reads_the_images_by_their_folders(tmp_path):
    pets = folder(tmp_path)
    text = text_for(pets)
    assert 'DATA = "pets"\nCLASSES = ["cat", "dog"]\nIMAGE = (8, 8, 1)\n' in text
    assert "8 images of 8 × 8 pixels, read as grey" in text
    assert "Rescaling(1 / 255)" in text
    data = load(spec_for(pets).load_data)
    assert data.y.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (data.x.shape, data.x.dtype) == ((8, 8, 8, 1), np.uint8)
    expected = np.asarray(Image.open(pets / "dog" / "2.png"))
    np.testing.assert_array_equal(np.asarray(data.x)[6, :, :, 0], expected)


def test_a_folder_that_is_new_since_is_refused(tmp_path):
    spec = spec_for(folder(tmp_path))
    (tmp_path / "pets" / "cow").mkdir()
    image().save(tmp_path / "pets" / "cow" / "0.png")
    with pytest.raises(BadInput, match="the target must be one of 'cat', 'dog', got 'cow' in row"):
        load(spec.load_data)


@pytest.mark.parametrize(
    ("sizes", "asked", "shape", "says"),
    [
        ([(8, 8)], None, (8, 8, 1), "of 8 × 8 pixels, read as grey"),
        ([(30, 32)], None, (30, 32, 1), "of 30 × 32 pixels, read as grey"),
        ([(128, 96)], None, (32, 24, 1), r"of 128 × 96 pixels, stretched to 32 × 24 \(--image"),
        ([(8, 8), (16, 8), (12, 8)], None, (12, 8, 1), "of 8 × 8 to 16 × 8 pixels, stretched"),
        ([(8, 8)], (16, 20), (16, 20, 1), "of 8 × 8 pixels, stretched to 16 × 20"),
        ([(80, 79)], None, (32, 32, 1), "stretched to 32 × 32"),
        ([(1, 300)], None, (4, 32, 1), "stretched to 4 × 32"),
    ],
)
def test_images_are_read_in_one_size_and_it_is_said(tmp_path, sizes, asked, shape, says):
    pets = folder(tmp_path, n_images=1)
    for number, size in enumerate(sizes):
        for name in ("cat", "dog"):
            image(*size).save(pets / name / f"{number}.png")
    found, told = decided(pets, asked)
    assert found == shape
    assert says.replace("\\", "") in told
    x, _ = read_images(pets, found, project_of=tmp_path / "study.py")
    assert x.shape[1:] == shape


@pytest.mark.parametrize(
    ("modes", "channels", "says"),
    [
        (("L", "1"), 1, "read as grey"),
        (("LA", "L"), 1, "read as grey"),
        (("RGB", "RGBA"), 3, "read in colour"),
        (("P", "RGB"), 3, "read in colour"),
        (("L", "RGB"), 3, "read in colour (2 have colours)"),
    ],
)
def test_images_are_grey_if_all_are(tmp_path, modes, channels, says):
    pets = folder(tmp_path, n_images=0)
    for name in ("cat", "dog"):
        for mode in modes:
            image(mode=mode).save(pets / name / f"{mode}.png")
    shape, told = decided(pets)
    assert shape[2] == channels
    assert says in told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, _ = read_images(pets, shape, project_of=tmp_path / "study.py")
    assert x.shape == (4, 8, 8, channels)
    # A saved model may take another number of channels.
    assert decided(pets, channels=4 - channels)[0][2] == 4 - channels


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    st.sampled_from(["png", "gif", "tiff", "webp"]),
    *[st.integers(4, 20)] * 4,
    st.sampled_from([1, 3]),
)
def test_whatever_an_image_is_it_becomes_what_was_asked_for(
    tmp_path_factory, mode, suffix, height, width, to_height, to_width, channels
):
    file = tmp_path_factory.mktemp("one") / f"image.{suffix}"
    image(height, width, mode).save(file)
    decoded = decode_image(file, shape=(to_height, to_width, channels))
    assert (decoded.shape, decoded.dtype) == ((to_height, to_width, channels), np.uint8)
    if (height, width) == (to_height, to_width) and (mode, suffix) in (
        ("L", "png"),
        ("RGB", "png"),
    ):
        kind = "L" if channels == 1 else "RGB"
        expected = np.asarray(Image.open(file).convert(kind)).reshape(decoded.shape)
        np.testing.assert_array_equal(decoded, expected)


def test_sixteen_bits_keep_their_shades(tmp_path):
    """Pillow itself cuts them off at 255: nearly all white."""
    shades = np.array([[0, 256, 2**15, 2**16 - 1]] * 4, np.uint16)
    Image.fromarray(shades).save(tmp_path / "deep.png")
    decoded = decode_image(tmp_path / "deep.png", shape=(4, 4, 1))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_transparent_palette_has_its_colours(tmp_path):
    """Pillow itself warns of these."""
    file, colours = tmp_path / "icon.png", image(mode="RGB")
    palette = colours.quantize(16)
    palette.save(file, transparency=bytes(range(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode_image(file, shape=(8, 8, 3))
    np.testing.assert_array_equal(decoded, np.asarray(palette.convert("RGB")))


def test_a_photo_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        lying = Image.fromarray(np.repeat([[255, 0]], 8, axis=0).repeat(8, axis=1).astype(np.uint8))
        lying.save(tmp_path / "pets" / name / "photo.jpg", exif=exif, quality=95)
    shape, _ = decided(tmp_path / "pets")
    assert shape == (16, 8, 1)
    x, _ = read_images(tmp_path / "pets", shape, project_of=tmp_path / "study.py")
    assert x[0, :6].min() > 200
    assert x[0, 10:].max() < 50


def test_what_is_no_image_is_left_out_and_counted(tmp_path):
    pets = folder(tmp_path)
    (pets / "labels.csv").write_text("no image")
    (pets / "cat" / ".DS_Store").write_text("hidden")
    (pets / "cat" / "._0.png").write_text("hidden")
    (pets / ".cache").mkdir()
    image().save(pets / ".cache" / "0.png")
    (pets / "dog" / "puppies").mkdir()
    image().save(pets / "dog" / "puppies" / "0.PNG")
    assert images_in(pets).classes == ("cat",) * 4 + ("dog",) * 5
    assert decided(pets)[1].endswith("; left out: 1 file(s) that are no images")


def truncate(pets):
    file = pets / "cat" / "1.png"
    image(40, 40).save(file)
    file.write_bytes(file.read_bytes()[:-100])


def write_text(pets):
    (pets / "cat" / "1.png").write_text("no image")
    (pets / "dog" / "3.png").write_bytes(b"")


def dangling(pets):
    (pets / "dog" / "link.png").symlink_to("nowhere")


def with_decimals(pets):
    Image.fromarray(RANDOM.normal(size=(8, 8)).astype(np.float32)).save(pets / "cat" / "1.tiff")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate, r"1 of 8 file\(s\) .* \S*cat/1\.png .OSError: .*truncated"),
        (write_text, r"2 of 8 .* decoded: \S*cat/1\.png .Unidentified.*dog/3\.png"),
        (dangling, r"1 of 9 file\(s\) cannot be read: \S*link\.png .FileNotFound"),
        (with_decimals, r"1 of 9 .*cat/1\.tiff .pixels of 8 or 16 bits .*pipeline\.read_files"),
    ],
)
def test_an_image_that_cannot_be_read_is_named(tmp_path, spoil, says):
    pets = folder(tmp_path)
    spoil(pets)
    with pytest.raises(BadInput, match=says):
        text_for(pets)


@pytest.mark.parametrize(
    ("classes", "n_images", "says"),
    [
        ((), 0, r"pets must have a folder for each class, .*\.png.* in them, got no image"),
        (("cat", "dog"), 0, "got no image"),
        (("cat",), 4, "two or more, with images .*, got 'cat'"),
        (("train", "test"), 2, "got 'test', 'train': search pets/test or the like"),
        (("cat", "dog"), 1, "two rows or more of each class.*got one of 'cat', 'dog'|identifier"),
    ],
)
def test_a_folder_must_have_images_of_two_classes(tmp_path, classes, n_images, says):
    (tmp_path / "pets").mkdir()
    for name in classes:
        (tmp_path / "pets" / name).mkdir()
        for number in range(n_images):
            image().save(tmp_path / "pets" / name / f"{number}.png")
    with pytest.raises(BadInput, match=says):
        text_for(tmp_path / "pets")


def test_images_in_no_folder_are_refused(tmp_path):
    pets = folder(tmp_path)
    image().save(pets / "stray.png")
    with pytest.raises(BadInput, match=r"got 1 in no folder, 'stray\.png' first"):
        text_for(pets)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "y"), "--target names columns of a table, got pets: each folder's name is a"),
        (("--groups", "y"), "--groups names columns"),
        (("--task", "regression"), "--task names columns"),
        (("--image-size", "2"), r"--image-size must be SIDE or HEIGHTxWIDTH, each ≥ 4, got '2'"),
        (("--image-size", "8x"), None),
        (("--image-size", "8xwide"), "each ≥ 4, got '8xwide'"),
    ],
)
def test_options_are_those_of_images(tmp_path, arguments, says):
    pets = folder(tmp_path)
    if says is None:
        assert "IMAGE = (8, 8, 1)" in text_for(pets, *arguments)
        return
    with pytest.raises(BadInput, match=says):
        text_for(pets, *arguments)


def test_an_image_size_is_for_images(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    options = search_options([str(tmp_path / "a.csv"), "--target", "y", "--image-size", "8"])
    with pytest.raises(BadInput, match=r"--image-size needs a folder of images, got a\.csv"):
        Asked.of(options)


def test_a_studys_name_is_not_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "pets"):
        (tmp_path / name).mkdir()
    found = {name: is_data_file(name) for name in ("digits", "./digits", "digits/", "pets", "none")}
    assert found == {
        "digits": False, "./digits": True, "digits/": True, "pets": True, "none": False,
    }  # fmt: skip

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageCms

from gallery import renditions as renditions_module
from gallery.renditions import TRANSPOSE, Renditions, UnreadablePicture, make_renditions
from gallery.validators import check_picture
from tests.conftest import draw_picture
from tests.gallery.pictures import CORNERS, corner_colours, exif_with, opened, quartered, saved

FORMATS = Path(__file__).resolve().parents[2].parent / "shared" / "photos" / "formats"
# The transposition that undoes each one.
UNDO = {
    **{number: turn for number, turn in TRANSPOSE.items() if number not in {6, 8}},
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def render(content: bytes) -> Renditions:
    return make_renditions(io.BytesIO(content))


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return tuple(int(part) for part in found)


def stored_with(orientation: int, picture_format: str) -> bytes:
    """The quartered picture, stored turned, with an orientation that makes it upright again."""
    image = quartered()
    if orientation in UNDO:
        image = image.transpose(UNDO[orientation])
    exif = exif_with({ExifTags.Base.Orientation: orientation})
    return saved(image, picture_format, exif=exif.tobytes())


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation: int, picture_format: str) -> None:
    content = stored_with(orientation, picture_format)
    facts = check_picture(io.BytesIO(content))
    assert (facts.width, facts.height) == (240, 160)
    renditions = render(content)
    for rendition in (opened(renditions.thumbnail), opened(renditions.preview)):
        assert rendition.size == (240, 160)
        assert corner_colours(rendition) == list(CORNERS)
        assert (
            not rendition.getexif()
        )  # nothing would turn it once more, or tell where it was taken


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_leaves_the_picture(orientation: int) -> None:
    exif = exif_with({ExifTags.Base.Orientation: orientation}).tobytes()
    renditions = render(saved(quartered(), exif=exif))
    assert corner_colours(opened(renditions.preview)) == list(CORNERS)


@pytest.mark.parametrize(
    ("size", "thumbnail", "preview"),
    [
        ((4000, 3000), (512, 384), (1600, 1200)),
        ((300, 200), (300, 200), (300, 200)),  # never larger than it was
        ((6000, 300), (1600, 80), (1600, 80)),  # a panorama keeps what height there is
        ((3000, 1000), (768, 256), (1600, 533)),
        ((1, 5000), (1, 1600), (1, 1600)),
    ],
)
def test_sizes(size: tuple[int, int], thumbnail: tuple[int, int], preview: tuple[int, int]) -> None:
    renditions = render(saved(Image.new("RGB", size, "teal")))
    assert renditions.thumbnail_size == opened(renditions.thumbnail).size == thumbnail
    assert opened(renditions.preview).size == preview
    assert renditions.placeholder.startswith("data:image/webp;base64,")
    assert len(renditions.placeholder) < 1000


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")


@pytest.mark.parametrize(
    ("profile", "expected"),
    [(None, (200, 20, 20)), (swapped_profile(), (20, 200, 20)), (b"broken", (200, 20, 20))],
    ids=["none", "exchanged", "broken"],
)
def test_the_colour_profile_is_applied(profile: bytes | None, expected: tuple[int, ...]) -> None:
    image = Image.new("RGB", (64, 64), (200, 20, 20))
    rendition = opened(render(saved(image, "PNG", icc_profile=profile)).preview)
    assert pixel(rendition, 30, 30) == pytest.approx(expected, abs=6)
    assert "icc_profile" not in rendition.info


def sixteen_bit(value: int) -> Image.Image:
    return Image.new("I;16", (64, 64), value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (saved(Image.new("RGBA", (64, 64), (255, 0, 0, 128)), "WEBP"), (255, 127, 127)),
        (saved(Image.new("LA", (64, 64), (0, 0)), "PNG"), (255, 255, 255)),
        (saved(Image.new("P", (64, 64), 0), "GIF", transparency=0), (255, 255, 255)),
        (saved(Image.new("RGB", (64, 64), "red"), "PNG", transparency=(255, 0, 0)), (255,) * 3),
        (saved(Image.new("1", (64, 64), 1), "TIFF"), (255, 255, 255)),
        (saved(sixteen_bit(32768), "PNG"), (128, 128, 128)),
        (saved(sixteen_bit(65535), "TIFF"), (255, 255, 255)),
        (saved(sixteen_bit(32768), "PNG", transparency=40000), (128, 128, 128)),
        (saved(Image.new("CMYK", (64, 64), (0, 255, 255, 0))), (255, 0, 0)),
        (saved(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (saved(Image.new("L", (64, 64), 90)), (90, 90, 90)),
        (saved(Image.new("F", (64, 64), 90.0), "TIFF"), (90, 90, 90)),
    ],
    ids=[
        "transparent", "half", "grey-transparent", "gif-transparent", "keyed", "bitmap", "16-bit",
        "16-bit-tiff", "16-bit-keyed", "cmyk", "cmyk-tiff", "grey", "float",
    ],
)  # fmt: skip
def test_pixels_come_out_as_a_screen_shows_them(content: bytes, expected: tuple[int, ...]) -> None:
    check_picture(io.BytesIO(content))
    rendition = opened(render(content).preview)
    assert rendition.mode == "RGB"
    assert pixel(rendition, 30, 30) == pytest.approx(expected, abs=4)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4000, 3000), (2000, 1500)),
        ((3000, 4000), (1500, 2000)),
        ((6400, 4801), (1600, 1201)),
        ((3200, 1801), (1600, 901)),
        ((3199, 1801), (3199, 1801)),  # half of it would be less than the preview
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(
    size: tuple[int, int], decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    as_srgb = renditions_module._as_srgb

    def look(image: Image.Image) -> Image.Image:
        seen.append(image.size)
        return as_srgb(image)

    monkeypatch.setattr(renditions_module, "_as_srgb", look)
    render(saved(Image.new("RGB", size, "teal")))
    assert seen == [decoded]


def test_a_comment_stays_in_the_original() -> None:
    renditions = render(saved(Image.new("RGB", (300, 200)), comment=b"at home, 12 Mill Lane"))
    for rendition in (renditions.thumbnail, renditions.preview):
        assert "comment" not in opened(rendition).info
        assert b"Mill Lane" not in rendition


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(opened(render(content).preview), 30, 20) == pytest.approx((255, 0, 0), abs=4)


@pytest.mark.parametrize("content", [b"", b"no picture", draw_picture(1)[:900]])
def test_what_cannot_be_decoded_is_said(content: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        render(content)


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", no_room)
    with pytest.raises(MemoryError):
        render(saved(Image.new("RGB", (2000, 2000))))


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*")), ids=lambda path: path.name)
def test_files_of_real_cameras(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".jxl":
        with pytest.raises(UnreadablePicture):
            render(content)
        return
    facts = check_picture(io.BytesIO(content))
    preview = opened(render(content).preview)
    assert preview.width / preview.height == pytest.approx(facts.width / facts.height, rel=0.01)
    assert len(set(preview.resize((8, 8)).get_flattened_data())) > 8

"""Images: opened within bounds, damaged ones told by name, datasets of them read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtune.data import check, images, read
from embedtune.data.describe import describe
from embedtune.data.images import ImagePath, ImageProblem, image_keys, in_parallel, open_image, problems_of
from embedtune.data.join import join_test
from embedtune.errors import DataError

Image = pytest.importorskip("PIL.Image")

Image.init()
AVIF = ["AVIF"] if "AVIF" in Image.SAVE else []
COLOURS = ["red", "green", "blue", "black", "white", "yellow"]


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def damaged(path: Path) -> Path:
    """A JPEG with noise in it, cut in half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_any_kind_of_image_becomes_rgb(tmp_path: Path) -> None:
    grey = np.full((4, 6), 0x8000, np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.new("RGBA", (6, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    found = {path.stem: open_image(path) for path in tmp_path.iterdir()}
    assert {image.mode for image in found.values()} == {"RGB"}
    assert {image.size for image in found.values()} == {(6, 4)}
    assert found["deep"].getpixel((0, 0)) == (128, 128, 128)  # 0x80 of 0xff
    assert found["clear"].getpixel((0, 0)) == (255, 255, 255)
    assert found["print"].getpixel((0, 0))[0] > 200


def test_images_stand_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (4, 6)


def test_large_jpegs_come_reduced_where_little_is_needed(tmp_path: Path) -> None:
    path = picture(tmp_path / "large.jpg", size=(1600, 800))
    assert open_image(path).size == (1600, 800)
    assert open_image(path, side=100).size == (200, 100)  # an eighth


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image", "utf-8")
    (tmp_path / "run.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "utf-8")
    names = ["empty.png", "text.png", "run.eps", "absent.png"]
    found = problems_of([str(tmp_path / name) for name in names] + [str(damaged(tmp_path / "half.jpg"))])
    assert found[:4] == [
        "the file is empty",
        "this is not an image",
        "this is not an image",
        "there is no such file",
    ]
    assert found[4].startswith("the image is damaged (")


def test_an_image_of_a_hundred_megapixels_is_refused_undecoded(tmp_path: Path) -> None:
    tall = tmp_path / "tall.png"
    Image.new("1", (20_000, 5_000)).save(tall)
    assert problems_of([str(tall)]) == ["20000 x 5000 pixels are more than the 80 million that are opened"]
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 10_000)).save(bomb)
    assert problems_of([str(bomb)]) == ["its pixels are more than the 80 million that are opened"]


def test_images_up_to_the_limit_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1200)
    monkeypatch.setattr(images, "LARGE", 100)  # one at a time
    paths = [str(picture(tmp_path / f"{n}.png", size=(40, 30 + n))) for n in range(2)]
    assert problems_of(paths, workers=2) == [
        None,
        "40 x 31 pixels are more than the 0 million that are opened",
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_bytes_an_image_opens_or_is_a_problem(tmp_path: Path, data: st.DataObject) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8)
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", *AVIF]))
    Image.fromarray(noise).save(whole, format=kind)
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    (problem,) = problems_of([str(path)], workers=1)
    if problem is None:
        (image,) = in_parallel(open_image, [str(path)], workers=1)
        assert image.mode == "RGB"
    else:
        with pytest.raises(ImageProblem):
            open_image(path, side=64)


def test_keys_are_of_the_content(tmp_path: Path) -> None:
    one, same, other = (
        picture(tmp_path / f"{n}.png", colour) for n, colour in enumerate(["red", "red", "blue"])
    )
    keys = image_keys("", [str(one), str(same), str(other)])
    assert keys.shape == (3, 32)
    assert (keys[0] == keys[1]).all()
    assert (keys[0] != keys[2]).any()
    with pytest.raises(DataError, match="the image cannot be read"):
        image_keys("", [str(tmp_path / "absent.png")])


def test_a_folder_by_label(tmp_path: Path) -> None:
    for number, label in enumerate(["cat", "dog", "Greek/alpha"]):
        for colour in COLOURS[:2]:
            picture(tmp_path / label / f"{colour}{number}.png", colour)
    picture(tmp_path / ".hidden" / "x.png")
    (tmp_path / "cat" / "notes.txt").write_text("x", "utf-8")
    data = read(tmp_path)
    assert data.task == "classification"
    assert data.images == {"document"}
    assert data.labels == [["Greek/alpha"]] * 2 + [["cat"]] * 2 + [["dog"]] * 2
    assert data.document_ids[0] == "Greek/alpha/green2.png"
    assert data.items("document")[0] == str(tmp_path / "Greek/alpha/green2.png")
    assert isinstance(data.items("document")[0], ImagePath)
    assert "6 images, 3 labels" in str(describe(data))


def test_a_folder_by_split_and_label(tmp_path: Path) -> None:
    for split in ("test", "train", "val"):
        picture(tmp_path / split / "cat" / f"{split}.png")
    data = read(tmp_path)
    assert data.documents["split"].to_pylist() == ["train", "dev", "test"]
    assert data.labels == [["cat"]] * 3


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png: this image is in no label's folder"):
        read(tmp_path)


def test_rows_with_paths_are_relative_to_their_file_or_the_folder_around(tmp_path: Path) -> None:
    for colour in COLOURS[:3]:
        picture(tmp_path / "images" / f"{colour}.png", colour)
    rows = [{"image": f"images/{colour}.png", "label": colour} for colour in COLOURS[:3]]
    (tmp_path / "other").mkdir()
    for path in (lines(tmp_path / "train.jsonl", rows), lines(tmp_path / "other" / "train.jsonl", rows)):
        for source in (path, path.parent):
            data = read(source)
            assert data.items("document")[0] == str(tmp_path / "images" / "red.png")
            assert data.labels == [["red"], ["green"], ["blue"]]


def test_pairs_of_text_and_image_and_of_two_images(tmp_path: Path) -> None:
    for colour in COLOURS[:4]:
        picture(tmp_path / f"{colour}.png", colour)
    captions = read(lines(tmp_path / "a.jsonl", [{"text": "a red thing", "image": "red.png"}]))
    assert (captions.task, captions.images) == ("retrieval", {"document"})
    assert captions.items("query") == ["a red thing"]
    assert captions.items("document") == [str(tmp_path / "red.png")]
    rows = [{"query_image": "red.png", "positive_image": "green.png", "negative_image": "blue.png"}]
    both = read(lines(tmp_path / "b.jsonl", rows))
    assert both.images == {"query", "document"}
    assert both.negatives().nnz == 1
    assert both.contents("query")[0] != both.contents("document")[0]


def test_a_text_outright_comes_before_an_image(tmp_path: Path) -> None:
    rows = [{"text": "words", "label": "x", "image": "nowhere.png"}]
    assert read(rows).images == frozenset()
    picture(tmp_path / "a.png")
    data = read([{**rows[0], "image": str(tmp_path / "a.png")}], roles={"image": "image"})
    assert data.images == {"document"}
    assert read(rows, roles={"image": None}).document_texts == ["words"]


def test_damaged_images_are_all_named_a_line_each(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    damaged(tmp_path / "half.jpg")
    rows = [{"image": name, "label": "x"} for name in ("good.png", "half.jpg", "absent.png")]
    with pytest.raises(DataError) as caught:
        read(lines(tmp_path / "rows.jsonl", rows))
    first, *rest = str(caught.value).splitlines()
    assert "2 of 3 images cannot be read; mend or remove them, or leave them out with skip_bad=True" in first
    assert len(rest) == 2
    assert "rows.jsonl:2: half.jpg: the image is damaged" in rest[0]
    assert rest[1].endswith("rows.jsonl:3: absent.png: there is no such file")


def test_damaged_images_are_skipped_only_when_asked(tmp_path: Path) -> None:
    for colour in COLOURS[:3]:
        picture(tmp_path / f"{colour}.png", colour)
    damaged(tmp_path / "half.jpg")
    rows = [{"image": name, "label": name} for name in ("red.png", "half.jpg", "blue.png")]
    path = lines(tmp_path / "rows.jsonl", rows)
    data = read(path, skip_bad=True)
    assert data.labels == [["red.png"], ["blue.png"]]
    assert [(problem.code, problem.line) for problem in data.problems] == [("damaged-images", 2)]
    assert "damaged-images" in [finding.code for finding in check(path) if finding.severity == "error"]

    pairs = [
        {"query": "a", "positive_image": "half.jpg"},
        {"query": "b", "positive_image": "red.png"},
        {"query": "c", "positive_image": "blue.png"},
    ]
    left = read(lines(tmp_path / "pairs.jsonl", pairs), skip_bad=True)
    assert left.document_texts == ["red.png", "blue.png"]
    np.testing.assert_array_equal(left.relevance().toarray(), [[0, 0], [1, 0], [0, 1]])
    with pytest.raises(DataError, match="no image can be read"):
        read(lines(tmp_path / "none.jsonl", rows[1:2]), skip_bad=True)


def test_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an address, not a file"):
        read([{"image": "https://example.org/a.png", "label": "x"}])


def test_copies_in_two_splits_are_found_and_paths_alone_are_not(tmp_path: Path) -> None:
    deep = "a/b/c/d/e/f/g/h/i"
    rows = []
    for number, colour in enumerate(["red", "red", "blue", "green", "black", "white"]):
        picture(tmp_path / deep / f"{number}.png", colour)
        rows.append(
            {"image": f"{deep}/{number}.png", "label": "x", "split": "test" if number % 2 else "train"}
        )
    codes = {finding.code: finding.count for finding in check(lines(tmp_path / "rows.jsonl", rows))}
    assert codes["same-text-in-splits"] == 2
    assert "near-duplicates-in-splits" not in codes


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"image": "a.png", "label": "x"}])
    picture(tmp_path / "a.png", "red")
    before = read(path).fingerprint
    picture(tmp_path / "a.png", "blue")
    assert read(path).fingerprint != before


def test_images_of_several_folders_are_mixed(tmp_path: Path) -> None:
    for name, colour in (("one", "red"), ("two", "blue")):
        picture(tmp_path / name / colour / "x.png", colour)
    data = read([(tmp_path / "one", 1.0), (tmp_path / "two", 0.5)])
    assert data.items("document") == [str(tmp_path / "one/red/x.png"), str(tmp_path / "two/blue/x.png")]


def test_images_inside_a_hugging_face_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    picture(tmp_path / "a.png", "red")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    content = {"bytes": (tmp_path / "a.png").read_bytes(), "path": None}
    rows = {"image": [content, str(tmp_path / "a.png")], "label": [0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features)
    dataset.save_to_disk(str(tmp_path / "saved"))
    for source in (dataset, tmp_path / "saved"):
        data = read(source)
        assert data.images == {"document"}
        assert data.labels == [["x"], ["y"]]
        assert len(set(data.contents("document"))) == 1


def test_a_test_folder_of_images_joins_by_whole_paths(tmp_path: Path) -> None:
    for name, colour in (("one", "red"), ("two", "blue")):
        picture(tmp_path / name / colour / "x.png", colour)
    joined = join_test(read(tmp_path / "one"), read(tmp_path / "two"))
    assert joined.items("document") == [str(tmp_path / "one/red/x.png"), str(tmp_path / "two/blue/x.png")]
    assert joined.documents["split"].to_pylist() == ["train", "test"]
    with pytest.raises(DataError, match="images where the other has texts"):
        join_test(read(tmp_path / "one"), read([{"text": "t", "label": "red"}]))

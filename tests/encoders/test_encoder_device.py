"""Which device is taken: what is asked for, what the environment names, what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedtune.encoders.device import device_of, named_device
from embedtune.encoders.transformer import TransformerEncoder
from embedtune.errors import UserError


def test_the_device_is_that_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "meta")
    assert device_of() == torch.device("meta")
    assert device_of("cpu") == torch.device("cpu")  # what is asked for goes before
    monkeypatch.setenv("EMBEDTUNE_DEVICE", " ")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of() == torch.device("cpu")


@pytest.mark.usefixtures("gpus")
def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of() == torch.device("cuda", 3)
    assert device_of("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "5")  # more processes than GPUs
    assert device_of("cuda") == torch.device("cuda", 1)
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cpu")
    assert device_of() == torch.device("cpu")
    with pytest.raises(UserError, match=r"there is no cuda:4: torch finds 4; choose another"):
        device_of("cuda:4")


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cuda")
    with pytest.raises(UserError, match="EMBEDTUNE_DEVICE: torch finds no GPU; choose cpu"):
        device_of()
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "gpu")
    with pytest.raises(
        UserError, match="EMBEDTUNE_DEVICE: there is no device called 'gpu'; choose cpu or cuda"
    ):
        device_of()


def test_an_encoder_tells_where_the_name_of_its_device_came_from(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDTUNE_DEVICE", raising=False)
    assert named_device() is None  # the library takes the best one present
    with pytest.raises(UserError, match=r"^there is no device called 'gpu'; choose cpu or cuda$"):
        TransformerEncoder(tiny_model, device="gpu").encode(["a"])
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "gpu")
    encoder = TransformerEncoder(tiny_model)
    with pytest.raises(UserError, match=r"^EMBEDTUNE_DEVICE: there is no device called 'gpu'; choose cpu"):
        encoder.encode(["a"])
    monkeypatch.setenv("EMBEDTUNE_DEVICE", "cpu")
    assert encoder.encode(["a"]).shape == (1, encoder.dimension)

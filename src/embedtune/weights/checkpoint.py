"""A run that can be killed at any moment and goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from embedtune.errors import ArtifactError, UserError
from embedtune.files import atomic_write, sha256_file

STATE = "state.json"

PARTS = {
    "version": "another version of embedtune",
    "data": "another dataset",
    "base": "another base model",
    "settings": "other settings",
}
"""What a fingerprint is made of, and what is said where one part differs."""


@dataclass(frozen=True)
class Checkpoint:
    """The folder of one run: its tensors as safetensors, all else as JSON, each whole or not there.

    Parameters
    ----------
    folder : pathlib.Path
        Made when the first state is saved.
    fingerprint : dict of str
        What the run depends on: the keys of :data:`PARTS`.
    """

    folder: Path
    fingerprint: Mapping[str, str]

    @property
    def exists(self) -> bool:
        """Whether a state has been saved."""
        return (self.folder / STATE).is_file()

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Save a state; the one before stays until this one is whole.

        Raises
        ------
        DiskFull
            When there is no room.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"state-{state['step']:07d}.safetensors"
        with atomic_write(self.folder / name) as file:
            temporary = Path(file.name)
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)
        digest = sha256_file(self.folder / name)
        written = {**state, "fingerprint": dict(self.fingerprint), "file": name, "sha256": digest}
        with atomic_write(self.folder / STATE) as file:
            file.write(json.dumps(written, indent=2, sort_keys=True).encode())
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Give what was saved last.

        Raises
        ------
        UserError
            When there is nothing, or it is of another version, dataset, base or of other settings.
        ArtifactError
            When it is damaged.
        """
        try:
            state: dict[str, Any] = json.loads((self.folder / STATE).read_bytes())
            found = dict(state["fingerprint"])
        except FileNotFoundError:
            raise UserError(
                "there is no checkpoint to go on from", where=str(self.folder), fix="run without --resume"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from None
        for part, words in PARTS.items():
            if found.get(part) != self.fingerprint[part]:
                raise UserError(
                    f"the checkpoint is of {words}",
                    where=str(self.folder),
                    fix="go on with what it was made with, or delete it and run without --resume",
                )
        try:
            path = self.folder / state["file"]
            if sha256_file(path) != state["sha256"]:
                raise ValueError("its bytes have changed")
            return load_file(path), state
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"the checkpoint is damaged ({error})",
            where=str(self.folder),
            fix="delete it and run without --resume",
        )

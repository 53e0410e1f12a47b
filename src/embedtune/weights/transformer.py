"""A sentence-transformers model on torch: which layers train, and the activations below them kept on disk."""

from __future__ import annotations

import contextlib
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from embedtune.encoders.device import device_of
from embedtune.encoders.model_folder import ModelFolder, tensor_shapes
from embedtune.encoders.transformer import TransformerEncoder, _quiet
from embedtune.errors import UserError
from embedtune.extras import need
from embedtune.weights.device import moved
from embedtune.weights.methods_base import Method
from embedtune.weights.prefix import Prefix
from embedtune.weights.spread import Team
from embedtune.weights.spread_parts import announce
from embedtune.weights.texts import Rows, Texts, Tokens
from embedtune.weights.tower import Tell

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*", "config.json")
"""What of the base's transformer is written anew."""


log = logging.getLogger(__name__)


class TransformerTower:
    """A base's weights, ready to be trained.

    There is no dropout: it would make cached activations, gradient caching and resumed runs differ from
    plain ones, and what it guards against is guarded by early stopping and by following the weights
    only as far as held-out rows gain.

    Parameters
    ----------
    encoder : TransformerEncoder
        The base.
    method : Method
        What of it is trained.
    device : str, optional
        What torch calls the device; see :func:`~embedtune.encoders.device.device_of`.
    team : Team, optional
        The processes that train together.

    Raises
    ------
    UserError
        When the model has no layers, fewer than are to be trained, or two ways through it.
    """

    def __init__(
        self,
        encoder: TransformerEncoder,
        method: Method,
        *,
        device: str | None = None,
        team: Team | None = None,
    ) -> None:
        library: Any = need("sentence_transformers", extra="weights", who=f"method {method.name!r}")
        self.encoder, self.method, self.team = encoder, method, team
        if encoder.folder is None or ModelFolder.read(encoder.folder).routed:
            raise UserError(
                f"{encoder.name} has different ways for queries and documents, which cannot be tuned",
                fix="tune an adapter on it: method linear, or auto without a budget",
            )
        self.device = device_of(device or encoder._device)
        with _quiet():
            self.model: Any = library.SentenceTransformer(
                str(encoder.folder),
                device=str(self.device),
                local_files_only=True,
                model_kwargs={"torch_dtype": torch.float32},
            )
        if encoder.max_tokens is not None:
            self.model.max_seq_length = encoder.max_tokens
        self.model.eval()
        self.tokens = Tokens.of([])
        self.autocast: torch.dtype | None = None
        self.compiled = False
        """Whether the trained layers are compiled."""
        self._prompt_lengths: list[int] = []
        self._features: dict[str, Any] = {}
        self._prefix: Prefix | None = None
        self.stack = layer_stack(self.model[0])
        self._adapted: Any = None
        self._choose(method)

    @property
    def per_token(self) -> float:
        """Bytes of activations that a backward pass keeps, a token: about 24 widths a trained layer."""
        trained = self.method.layers or len(self.stack)
        return 4.0 * 24 * int(self.model[0].auto_model.config.hidden_size) * trained

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.encoder.dimension

    def _choose(self, method: Method) -> None:
        """Say which weights train."""
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        if method.name == "lora":
            peft: Any = need("peft", extra="weights", who="method 'lora'")
            rank = int(getattr(method, "rank", 16))
            config = peft.LoraConfig(
                r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", bias="none"
            )
            with torch.random.fork_rng(), _quiet():
                torch.manual_seed(0)
                self._adapted = peft.get_peft_model(self.model[0].auto_model, config)
            self.model.eval()
            return
        if method.layers > len(self.stack):
            raise UserError(
                f"{self.encoder.name} has {len(self.stack)} layers, not {method.layers}",
                where="--layers",
                fix=f"choose from 1 to {len(self.stack)}",
            )
        trained = list(self.stack)[-method.layers :] if method.layers else [self.model[0].auto_model]
        for module in [*trained, *list(self.model)[1:]]:
            for parameter in module.parameters():
                parameter.requires_grad_(True)
        pooler = getattr(self.model[0].auto_model, "pooler", None)
        for parameter in pooler.parameters() if isinstance(pooler, nn.Module) else ():
            parameter.requires_grad_(False)  # sentence-transformers pools by itself

    def trained(self) -> dict[str, nn.Parameter]:
        """Give the weights that are trained, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def read(self, texts: Texts, folder: Path, tell: Tell | None = None) -> None:
        """Tokenise the texts, and compute what the lower layers make of them."""
        if self.team is not None and self.team.rank == 0:
            announce(self.team, self, texts, folder)
        lists, group = self._tokenise(texts)
        self.tokens = Tokens.of(lists, group)
        below = len(self.stack) - self.method.layers
        if self.method.layers and below and self.method.name == "layers":
            self._prefix = Prefix(self, self.stack, below, folder)
            self._prefix.compute(tell)
        if self.team is not None:
            self.team.underway = False

    def _tokenise(self, texts: Texts) -> tuple[list[list[int]], Rows]:
        lists: list[list[int]] = [[] for _ in range(len(texts))]
        prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(p for p, _ in texts.items))}
        group = np.array([prompts[prompt] for prompt, _ in texts.items], np.int64)
        self._prompt_lengths = [0] * len(prompts)
        for prompt, number in prompts.items():
            rows = np.flatnonzero(group == number)
            for start in range(0, len(rows), 512):
                block = rows[start : start + 512]
                found = self.model.preprocess([texts.items[row][1] for row in block], prompt=prompt or None)
                self._prompt_lengths[number] = int(found.pop("prompt_length", 0))
                kept = found["attention_mask"].bool()
                for row, ids, mask in zip(block, found["input_ids"], kept, strict=True):
                    lists[row] = ids[mask].tolist()
                self._features = {
                    name: value
                    for name, value in found.items()
                    if not isinstance(value, torch.Tensor) or name == "token_type_ids"
                }
        if all(length == 0 for length in self._prompt_lengths):
            group = np.zeros(len(texts), np.int64)
        return lists, group

    def features(self, rows: Rows) -> dict[str, Any]:
        """Give padded token numbers and their mask, (n, longest) each, as the model takes them."""
        lengths = self.tokens.lengths[rows]
        width = max(int(lengths.max(initial=1)), 1)
        ids = np.full((len(rows), width), self._padding, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for place, row in enumerate(rows):
            where = self.place(int(lengths[place]), width)
            ids[place, where] = self.tokens[row]
            mask[place, where] = 1
        made: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        for name, value in self._features.items():
            made[name] = torch.zeros_like(made["input_ids"]) if isinstance(value, torch.Tensor) else value
        length = self._prompt_lengths[int(self.tokens.group[rows[0]])] if self._prompt_lengths else 0
        if length:
            made["prompt_length"] = length
        return {
            name: moved(value, self.device) if isinstance(value, torch.Tensor) else value
            for name, value in made.items()
        }

    @property
    def _padding(self) -> int:
        return int(self.model.tokenizer.pad_token_id or 0)

    def place(self, length: int, width: int) -> slice:
        """Say where the tokens of a text are in a padded row."""
        left = getattr(self.model.tokenizer, "padding_side", "right") == "left"
        return slice(width - length, width) if left else slice(0, length)

    def __call__(self, rows: Rows) -> torch.Tensor:
        """Give the vectors of texts, float32 (n, d)."""
        features = self.features(rows)
        with self.mixed(), self._prefix.below(rows) if self._prefix else contextlib.nullcontext():
            vectors: torch.Tensor = self.model(features)["sentence_embedding"].float()
        if self.encoder.similarity == "cosine":
            vectors = nn.functional.normalize(vectors, dim=1)
        return vectors

    def compile(self, backend: str = "inductor") -> None:
        """Have torch compile the trained layers, and try them; where that fails they run as they are.

        Layer by layer, as they are alike: one is compiled, and the rest reuse it.
        """
        # the compiler looks for gradients of what has none, here and whenever it compiles for another shape
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        for layer in self._trained_layers():
            layer.compile(dynamic=True, backend=backend)
        self.compiled = True
        kept = {name: p.grad for name, p in self.trained().items()}
        try:
            some = np.arange(min(2, len(self.tokens.lengths)))
            with torch.no_grad():
                self(some)
            with torch.enable_grad():
                self(some).sum().backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - whatever a compiler of the day raises
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            log.warning("the layers run without being compiled: %s", reason)
            self.uncompile()
        for name, parameter in self.trained().items():
            parameter.grad = kept[name]

    def uncompile(self) -> None:
        """Have the layers run as they are again."""
        for layer in self._trained_layers():
            layer._compiled_call_impl = None
        self.compiled = False

    def _trained_layers(self) -> list[nn.Module]:
        return list(self.stack)[-self.method.layers if self.method.layers else 0 :]

    def mixed(self) -> Any:
        """Give the context in which matrix products run in the chosen precision."""
        return torch.autocast(
            self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
        )

    def follow(self, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], strength: float) -> None:
        """Set the weights on the way from the base's (0) to the trained ones (1).

        The product of LoRA's two factors is followed by the second alone, which starts at zero.
        """
        with torch.no_grad():
            for name, parameter in self.trained().items():
                whole = ".lora_A." in name
                value = end[name] if whole else torch.lerp(start[name], end[name], strength)
                parameter.copy_(value)

    def save(self, folder: Path) -> None:
        """Write the base's folder with the weights as they are now."""
        base = ModelFolder.read(Path(self.encoder.folder or ""))
        shutil.copytree(
            base.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("onnx", "openvino", ".*")
        )
        own = {
            name
            for path in base.module_path(base.modules[0]).glob("*.safetensors")
            for name in tensor_shapes(path)
        }
        names = [str(module.get("path", "")) for module in base.modules]
        place = folder / names[0]
        for pattern in WEIGHTS:
            for path in place.glob(pattern):
                path.unlink()
        module = self.model[0].auto_model if self._adapted is None else self._adapted.merge_and_unload()
        tensors = {name: value for name, value in module.state_dict().items() if not own or _known(name, own)}
        with _quiet():
            module.save_pretrained(str(place), state_dict=tensors)
        for name, one in zip(names[1:], list(self.model)[1:], strict=False):
            if any(True for _ in one.parameters()):
                one.save(str(folder / name))
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o644)


def _known(name: str, own: set[str]) -> bool:
    """Whether the base has the tensor, perhaps under a prefix; what it lacks was made up in loading."""
    return any(one == name or one.endswith(f".{name}") or name.endswith(f".{one}") for one in own)


def layer_stack(module: nn.Module) -> nn.ModuleList:
    """Give a transformer's layers: the longest list of modules of one kind.

    Raises
    ------
    UserError
        When there is none.
    """
    lists = [
        one
        for one in module.modules()
        if isinstance(one, nn.ModuleList) and len(one) and len({type(layer) for layer in one}) == 1
    ]
    if not lists:
        raise UserError("this model has no list of layers", fix="take method full")
    return max(lists, key=lambda one: (len(one), sum(p.numel() for p in one.parameters())))

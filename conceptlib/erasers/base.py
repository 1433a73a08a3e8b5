"""What a method of erasure supplies, and what it is given.

A module of `conceptlib.erasers.methods` has

* `Params`, a `conceptlib.specs.params.Params` (or `TrainingParams` for methods that use the shared loop); importing the
  module must not import torch;
* `needs(params) -> frozenset[str]`: which of "data" and "annotations" the method reads;
* `uses(params)`, if it can also do without: which of them it reads when they are given;
* `run(job) -> Result`: change `job.model` in place and say what was changed;
* `apply(pipe, config)`, only if its `Result` has the adapter `config`: switch the erasure on in a base that was opened,
  for instance by setting `pipe.guidance_rule` (`conceptlib.models.guidance`);
* `FORWARDS = False`, if it never runs the denoiser or the autoencoder: they stay in the precision of their files, in
  half the memory, and the method widens what it edits;
* `VERSION` (1 where there is none): raised whenever the same recipe comes to mean another checkpoint, or `apply`
  another erasure.

Under `accelerate launch` every process calls `run`; only the main one writes files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from conceptlib.progress import Progress
from conceptlib.specs.params import Params, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    import torch

    from conceptlib.erasers.neighbours import Neighbour
    from conceptlib.models.devices import Placement
    from conceptlib.models.family import Model
    from conceptlib.specs.schema import ConceptSpec
    from conceptlib.store import Artifact

Adapter = Literal["full", "lora", "tensors", "embeddings", "config"]
"""How a checkpoint holds what was erased: the modules of `conceptlib.erasers.adapters`."""


class TrainingParams(Params):
    """Settings of the shared training loop. `batch_size` is what one optimiser step sees in all, however it is cut
    up.
    """

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    gradient_accumulation: Annotated[int, Field(ge=1, le=65_536)] = 1
    schedule: Literal["constant", "linear", "cosine", "trapezoid"] = "cosine"
    """How rates fall after the warm-up: not at all, to 0 in a line or half a cosine, or, `trapezoid`, flat until they
    fall to 0 in a line over the last two fifths of the steps."""
    warmup: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    grad_clip: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    checkpoint_every: PositiveInt = 200

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> TrainingParams:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into {self.gradient_accumulation} equal parts "
                "(gradient_accumulation)"
            )
        return self


class WeightParams(TrainingParams):
    """Settings of a method that trains weights of the denoiser by the shared loop.

    adapter: what the checkpoint holds: the whole model, trained LoRA matrices (of rank `lora_rank`), or the trained
        tensors alone.
    loss: mean square (`l2`) or mean absolute difference (`l1`).
    loss_space: differences are of ε, as the papers have it, or of the model's `output`. For a model that predicts v the
        second is 1 / α times the first: noisy timesteps, where it is decided what is drawn, count as they did when the
        model was trained. For one that predicts ε both are the same.
    compile: `torch.compile` the denoiser; pays off from some hundred steps on.
    resolution: pixels; 0: what the base was trained on.
    """

    adapter: Literal["full", "lora", "tensors"] = "tensors"
    lora_rank: Annotated[int, Field(ge=1, le=4096)] = 8
    lr: PositiveFloat = 1e-5
    loss: Literal["l2", "l1"] = "l2"
    loss_space: Literal["epsilon", "output"] = "epsilon"
    compile: bool = False
    gradient_checkpointing: bool = False
    resolution: Annotated[int, Field(ge=0, multiple_of=8)] = 0


@dataclass(frozen=True)
class Job:
    """One erasure, resolved: what `run` works on.

    `pipe` holds the base's weights on `placement`'s device, gradients off. `workdir` outlives an interruption and is
    removed when the checkpoint is committed; `log` is a JSON-lines file that stays in the checkpoint. `accelerator` is
    accelerate's. `neighbours` should survive.
    """

    params: Any
    seed: int
    concepts: Sequence[ConceptSpec]
    pipe: Any
    placement: Placement
    accelerator: Any
    workdir: Path
    log: Path
    data: Artifact | None = None
    annotations: Artifact | None = None
    progress: Progress | None = None
    neighbours: Sequence[Neighbour] = ()

    @cached_property
    def model(self) -> Model:
        """`pipe` as its family's `Model`: what methods work on, whatever the family."""
        from conceptlib.models.family import of

        return of(self.pipe)


@dataclass(frozen=True)
class Result:
    """What `run` did to the pipeline.

    adapter: `full` (any weight may have changed), `lora` (peft adapters on the denoiser, perhaps on encoders; or
    `changed` weights whose change is of low rank), `tensors` (those of `changed`), `embeddings` (nothing but new rows
    of the embedding table) or `config` (no weight; the method's module has `apply(pipe, config)`).
    tokens: strings added to the tokenizer. convention: the paper's or release's variant of the formula. info: numbers
    for the manifest.
    changed: `{"unet.<parameter>": its value in the base}` of the parameters that have another value now.
    factors: `{"unet.<layer>": (up, down)}`, float32 (out, r, ...) and (r, in, ...), where a method knows the low-rank
    factors of its changes itself; `lora` then writes these.
    config: JSON that `apply` is called with when the checkpoint is opened.
    """

    adapter: Adapter
    negative_prompt: str = ""
    tokens: tuple[str, ...] = ()
    convention: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    changed: Mapping[str, torch.Tensor] = field(default_factory=dict)
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate. `decay`: whether weight decay applies to them."""

    parameters: Sequence[torch.nn.Parameter]
    lr: float
    decay: bool = True


class Objective(Protocol):
    """What the shared loop trains, and by which loss.

    It may have `prepare(step)`, called by every process before each step: what it changes must follow from the step and
    the weights alone, or from files in `workdir`, so that a resumed run is the same.

    It may have `batch(rows, generators) -> dict`, what the CPU does for a loss (tensors come to the device by
    themselves), and `loss_of(batch)`, the rest: then the next batch is read while a GPU works on this one.

    It may say `may_skip = False`: every batch uses every trained parameter, which saves processes of an `accelerate
    launch` the search for those that one does not.
    """

    def modules(self) -> Mapping[str, torch.nn.Module]:
        """The modules that hold the trained parameters, by a name that stays the same between runs."""
        ...

    def groups(self) -> list[Group]:
        """Every trained parameter in one group; they are float32 with `requires_grad` set."""
        ...

    def loss(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
        """The mean loss over samples: `rows[i]` indexes the data, `generators[i]` (CPU) is the source of its random
        numbers.
        """
        ...


class Method(Protocol):
    """The module of a method, as the registry sees it."""

    Params: type[Params]

    def needs(self, params: Any) -> frozenset[str]:
        """Inputs that must be there: a subset of {"data", "annotations"}."""
        ...

    def run(self, job: Job) -> Result:
        """Erase."""
        ...

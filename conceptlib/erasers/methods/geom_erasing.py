"""Geom-Erasing (Liu, Chen et al., ECCV 2024, arXiv 2310.05873): erase an implicit concept by first naming where it is.

Nobody writes "with a QR code" into a caption, so there is no word to unlearn. A detector supplies it: pictures with the
concept get the prompt y' = caption ⊕ concept name ⊕ the token of every bin that a box covers, and the model learns that
what it drew unasked belongs to these words. They are then the negative prompt. The loss is E[w ⊙ ‖ε − ε_θ(z_t, t,
c(y'))‖²] with w turned down inside the boxes (`geometry.weights`); for models that predict v, the same with v.

*Data removal* fine-tunes the model and the new tokens on polluted data; *model removal* trains the tokens alone, all
else frozen. The paper's code was never released: this is a reimplementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from conceptlib.erasers.base import Group, Job, Result, TrainingParams
from conceptlib.specs.params import Fraction, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    import numpy as np
    import torch

    from conceptlib.models.conditioning import Conditioning

Bins = Annotated[int, Field(ge=1, le=64)]
Rate = Annotated[float, Field(ge=0)]


class Params(TrainingParams):
    """Settings. The three switches `concept_name`, `location_tokens` and `region_weighting`, turned on in this order,
    are the paper's ablation; with all three off it is a plain fine-tune that needs no annotations."""

    mode: Literal["data-removal", "model-removal"] = "data-removal"
    concept_name: bool = True
    location_tokens: bool = True
    region_weighting: bool = True
    grid: tuple[Bins, Bins] = (4, 4)
    """Rows and columns of bins."""
    alpha: PositiveFloat = 2.0
    """How many times as much a position outside the boxes weighs as one inside."""
    overflow: Literal["coarsen", "corners", "error"] = "coarsen"
    token_init: Literal["mean", "random", "sincos2d"] = "random"
    caption_dropout: Fraction = 0.1
    concept_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the samples of an epoch that show the concept; None: as many as in the data.

    The pictures of the kind that is too rare come several times. Pictures without the concept are what teaches a model
    to leave it out; those with it teach that the new words mean it.
    """
    timestep_shift: PositiveFloat = 1.0
    """s in t = T·s·u / (1 + (s − 1)·u), u uniform (Esser et al. 2024, eq. 23).

    Above 1, more of the noisy timesteps, where it is decided whether a concept appears at all; 1: uniform, as in the
    paper.
    """
    min_score: Fraction = 0.25
    negative_prompt: Literal["auto", "name", "none"] = "auto"
    adapter: Literal["full", "lora"] = "full"
    lora_rank: PositiveInt = 16
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    lr_unet: Rate = 1.5e-4
    lr_text: Rate = 0.0
    lr_tokens: Rate = 1e-3
    resolution: Annotated[int, Field(ge=0, multiple_of=8)] = 0
    """Pixels; 0: what the base was trained on."""
    gradient_checkpointing: bool = False

    later: ClassVar[frozenset[str]] = frozenset({"concept_share"})

    @property
    def located(self) -> bool:
        """Whether boxes are needed."""
        return self.concept_name or self.location_tokens or self.region_weighting

    @model_validator(mode="after")
    def _something_to_train(self) -> Params:
        if self.mode == "model-removal" and not (self.location_tokens and self.lr_tokens > 0):
            raise ValueError(
                "model-removal trains the location tokens alone: location_tokens must be on and lr_tokens above 0"
            )
        if self.concept_share is not None and (self.mode == "model-removal" or not self.located):
            raise ValueError(
                "concept_share mixes pictures with and without the concept: only data-removal trains on both, and it "
                "needs one of concept_name, location_tokens and region_weighting to know them apart"
            )
        if not (self.lr_unet or self.lr_text or (self.location_tokens and self.lr_tokens)):
            raise ValueError("every learning rate is 0: nothing would be trained")
        return self


def needs(params: Params) -> frozenset[str]:
    """Polluted data always; annotations unless it is a plain fine-tune."""
    return frozenset({"data", "annotations"} if params.located else {"data"})


def run(job: Job) -> Result:
    """Train on `job.data`; see the module."""
    from conceptlib.erasers.loop import train

    params: Params = job.params
    objective = GeometryObjective(job)
    report = train(
        objective,
        params,
        rows=len(objective.rows),
        seed=job.seed,
        workdir=job.workdir,
        log=job.log,
        accelerator=job.accelerator,
        progress=job.progress,
    )
    objective.release()
    return Result(
        adapter="embeddings" if params.mode == "model-removal" else params.adapter,
        negative_prompt=objective.negative_prompt,
        tokens=tuple(objective.tokens),
        convention=f"{params.mode}; reimplementation of arXiv 2310.05873",
        info={**report.as_dict(), **objective.info},
    )


class GeometryObjective:
    """The region-weighted denoising loss on geometry prompts, and the parameters that it trains.

    Building it adds the tokens to `job.pipe` and encodes the pictures; `release` puts an ordinary embedding table back.

    `rows` are the pictures of an epoch: all in data removal, some of them several times if there is a `concept_share`;
    in model removal those with the concept, since the prompts of the others hold no trained token and give no gradient.
    `prompts` has an entry a picture.
    """

    def __init__(self, job: Job) -> None:
        import numpy as np

        from conceptlib.erasers.examples import gather
        from conceptlib.erasers.tokens import PromptBuilder, add_tokens, initial_rows, pool_at_end_mark, split_table
        from conceptlib.geometry.bins import Grid
        from conceptlib.models.encoding import PromptCache

        params: Params = job.params
        self.params, self.model, self.encoders = params, job.model, job.model.encoders
        self.seed = job.seed
        side = params.resolution or job.model.resolution
        self.data = gather(job, side=side, min_score=params.min_score, located=params.located)
        phrases = {concept.name: concept.phrase for concept in job.concepts}
        grid = Grid(*params.grid) if params.location_tokens else None
        self.tokens = grid.tokens() if grid else []
        self.tables = []
        if grid:
            for encoder in self.encoders:
                start = initial_rows(job.model, grid, params.token_init, list(phrases.values()), job.seed, encoder)
                self.tables.append(split_table(encoder.module, add_tokens(encoder.tokenizer, self.tokens), start))
                pool_at_end_mark(encoder)
        builder = PromptBuilder(job.model.tokenizer, grid, named=params.concept_name, policy=params.overflow)
        self.prompts = [
            builder.build(caption, [(phrases[name], found[name]) for name in found], side, side)
            for caption, found in zip(self.data.captions, self.data.boxes, strict=True)
        ]
        self.boxes = [np.concatenate([*found.values(), np.empty((0, 4), np.float32)]) for found in self.data.boxes]
        self._located = {prompt.text for prompt in self.prompts if prompt.located}
        shown = self.data.with_concept
        self.rows = shown if params.mode == "model-removal" else np.arange(len(self.data))
        if params.concept_share is not None:
            self.rows = mixed_rows(len(self.data), shown, params.concept_share, job.seed)
        self.negative_prompt = {
            "auto": builder.negative(list(phrases.values())),
            "name": " ".join(phrases.values()),
            "none": "",
        }[params.negative_prompt]
        self.info = {
            "images": len(self.data),
            "images_with_concept": len(shown),
            "prompts_overflowed": sum(prompt.overflowed for prompt in self.prompts),
            "captions_shortened": sum(prompt.shortened for prompt in self.prompts),
        }
        self.prediction = job.model.prediction
        self.cache = PromptCache(job.model)
        self.device, self._dtype = job.placement.device, job.placement.dtype
        self._groups = self._unfreeze()

    def _unfreeze(self) -> list[Group]:
        """Turn on the gradients that the settings ask for. What is not saved may stay in the placement's dtype; the
        rest is float32.
        """
        from conceptlib.models.devices import narrow

        params, denoiser = self.params, self.model.denoiser
        groups: list[Group] = []
        if params.mode == "data-removal":
            if params.gradient_checkpointing:
                denoiser.enable_gradient_checkpointing()
            for module, lr, targets in (
                (denoiser, params.lr_unet, params.lora_targets),
                *((encoder.module, params.lr_text, encoder.targets) for encoder in self.encoders),
            ):
                if lr > 0:
                    groups.append(Group(self._parameters(module, targets), lr))
        if denoiser.dtype != self._dtype and (params.mode == "model-removal" or params.adapter == "lora"):
            narrow(denoiser, self._dtype, [parameter for group in groups for parameter in group.parameters])
        rows = [table.rows.requires_grad_(params.lr_tokens > 0) for table in self.tables]
        if rows and params.lr_tokens > 0:
            groups.append(Group(rows, params.lr_tokens, decay=False))
        return groups

    def _parameters(self, module: Any, targets: tuple[str, ...]) -> list[Any]:
        """A module's trained parameters, in float32: all of them, or new LoRA matrices. The new tokens' rows have a
        group of their own.
        """
        import torch
        from peft import LoraConfig

        from conceptlib.store.seeds import row_seed

        before = {id(parameter) for parameter in module.parameters()}
        if self.params.adapter == "lora":
            # alpha = rank: the scale is 1, which is what readers assume that do not look at the metadata.
            rank = self.params.lora_rank
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), init_lora_weights="gaussian")
            with torch.random.fork_rng():
                torch.manual_seed(row_seed(self.seed, rank, "lora"))
                module.add_adapter(config)
        found, tokens = [], {id(table.rows) for table in self.tables}
        for parameter in module.parameters():
            new = self.params.adapter == "full" or id(parameter) not in before
            if new and id(parameter) not in tokens:
                parameter.data = parameter.data.float()
                found.append(parameter.requires_grad_(True))
        return found

    def modules(self) -> dict[str, Any]:
        """The denoiser and the text encoders (with the new tokens in them)."""
        return {self.model.DENOISER: self.model.denoiser} | {encoder.name: encoder.module for encoder in self.encoders}

    def groups(self) -> list[Group]:
        """Denoiser, text encoders and tokens, as far as they are trained."""
        return self._groups

    def loss(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
        """E[w ⊙ ‖target − prediction‖²] over the pictures `self.rows[rows]`: a scalar."""
        return self.loss_of(self.batch(rows, generators))

    def batch(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> dict[str, Any]:
        """The pictures' latents, noise, timesteps, prompts, framings and weights (None for none)."""
        import numpy as np
        import torch

        from conceptlib.geometry.weights import region_weights
        from conceptlib.models.prediction import shifted_timesteps

        pictures = [int(self.rows[row]) for row in rows]
        latents = torch.from_numpy(self.data.latents[pictures])
        noise = torch.stack([torch.randn(latents.shape[1:], generator=source) for source in generators])
        uniform = torch.cat([torch.rand(1, generator=source, dtype=torch.float64) for source in generators])
        steps, shift = self.prediction.num_timesteps, self.params.timestep_shift
        dropped = [float(torch.rand((), generator=source)) < self.params.caption_dropout for source in generators]
        weights = None
        if self.params.region_weighting:
            side, shape, alpha = self.data.side, (latents.shape[-2], latents.shape[-1]), self.params.alpha
            maps = [region_weights(self.boxes[index], side, side, shape, alpha) for index in pictures]
            weights = torch.from_numpy(np.stack(maps))[:, None]
        return {
            "latents": latents,
            "noise": noise,
            "timesteps": shifted_timesteps(uniform, steps, shift),
            "prompts": [
                self.model.null if drop else self.prompts[at].text for drop, at in zip(dropped, pictures, strict=True)
            ],
            "framings": [self.data.framings[index] for index in pictures],
            "weights": weights,
        }

    def loss_of(self, batch: dict[str, Any]) -> torch.Tensor:
        """`loss` of a batch."""
        from conceptlib.models.devices import send

        latents, noise, timesteps = (send(batch[name], self.device) for name in ("latents", "noise", "timesteps"))
        noisy = self.prediction.noised(latents, noise, timesteps)
        target = self.prediction.target(latents, noise, timesteps)
        conditioning = self.model.framed(self.condition(batch["prompts"]), batch["framings"])
        prediction = self.model.predict(noisy, timesteps, conditioning)
        weights = batch["weights"]
        return region_loss(prediction, target, weights if weights is None else send(weights, self.device))

    @property
    def may_skip(self) -> bool:
        """A batch may be without the new tokens, and a family may leave an encoder's layers unused (SDXL: the last)."""
        return self._token_trains() or self._encoder_trains()

    def condition(self, prompts: Sequence[str | None]) -> Conditioning:
        """The conditioning, N rows. Only distinct prompts are encoded, with gradients only those that a trained weight
        decides.
        """
        import torch

        from conceptlib.models.conditioning import Conditioning
        from conceptlib.models.devices import send

        distinct = list(dict.fromkeys(prompts))
        trained = (
            distinct if self._encoder_trains() else [p for p in distinct if self._token_trains() and p in self._located]
        )
        fixed = [prompt for prompt in distinct if prompt not in set(trained)]
        parts = []
        if trained:
            parts.append(self.model.encode(trained))
        if fixed:
            parts.append(self.cache.encode(fixed).to(dtype=parts[0].prompt_embeds.dtype if parts else None))
        place = {prompt: index for index, prompt in enumerate([*trained, *fixed])}
        return Conditioning.cat(parts)[send(torch.tensor([place[prompt] for prompt in prompts]), self.device)]

    def _encoder_trains(self) -> bool:
        return self.params.mode == "data-removal" and self.params.lr_text > 0

    def _token_trains(self) -> bool:
        return bool(self.tables) and self.params.lr_tokens > 0

    def release(self) -> None:
        """Gradients off, and ordinary embedding tables that hold the new rows."""
        from conceptlib.erasers.tokens import merge_table

        modules = [encoder.module for encoder in self.encoders]
        for module in modules:
            merge_table(module)
        if self.params.gradient_checkpointing:
            self.model.denoiser.disable_gradient_checkpointing()
        for module in (self.model.denoiser, *modules):
            module.requires_grad_(False)


def mixed_rows(count: int, shown: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The pictures of an epoch in which a given share shows the concept.

    Every picture is in it. Those of the kind that is too rare come again and again, in an order that the seed decides,
    until the share is right.

    Args:
        count: pictures in all.
        shown: (P,) indices of those that show the concept, P >= 1.
        share: in (0, 1).
        seed: decides which come once more than others.

    Returns:
        int64 (M,), M >= count. All pictures once if none is without the concept.
    """
    import numpy as np

    from conceptlib.store.seeds import row_generator

    clean = np.setdiff1d(np.arange(count), shown)
    if not len(clean):
        return np.arange(count)
    few, many, part = (clean, shown, 1 - share) if len(shown) > share * count else (shown, clean, share)
    wanted = max(len(few), round(len(many) * part / (1 - part)))
    again = np.resize(row_generator(seed, 0, "share").permutation(few), wanted - len(few))
    return np.concatenate([many, few, again])


def region_loss(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of w ⊙ (target − prediction)².

    Args:
        prediction, target: (N, C, h, w).
        weights: (N, 1, h, w), each summing to T = h · w, so that the mean is comparable to an unweighted one; None for
            all ones.
    """
    error = (prediction.float() - target.float()).square()
    return (error if weights is None else error * weights).mean()

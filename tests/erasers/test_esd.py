from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from pydantic import ValidationError

from conceptlib.erasers.erase import erase
from conceptlib.erasers.loop import generators
from conceptlib.erasers.methods import esd
from conceptlib.erasers.methods.esd import EsdObjective, Params, esd_target
from conceptlib.errors import ConceptlibError
from conceptlib.models.parts import select
from conceptlib.specs import load_spec
from conceptlib.store import Artifact, Store
from conceptlib.store.seeds import row_seed
from tests.support.jobs import adam_step, build_job, epsilon

SETTINGS: dict[str, Any] = {
    "steps": 1, "batch_size": 4, "trajectories": 2, "num_steps": 3, "schedule": "constant", "weight_decay": 0.0,
    "grad_clip": 0.0, "lr": 1e-3,
}  # fmt: skip
ROWS = [0, 2, 4, 5]
SCHEDULERS = (
    "PNDM", "DDIM", "DDPM", "DEISMultistep", "DPMSolverMultistep", "EulerAncestralDiscrete", "EulerDiscrete",
    "HeunDiscrete", "LMSDiscrete", "UniPCMultistep",
)  # fmt: skip
LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"l2": torch.square, "l1": torch.abs}


def own_target(pipe: Any, base: Any, points: Any, params: Params, concept: str) -> torch.Tensor:
    """The target by the papers' formulas, from forwards of an untouched copy of the base."""
    with torch.no_grad():
        null, c, f = (
            epsilon(pipe, base, points.latents, points.timesteps, [text] * len(points.latents))
            for text in ("", concept, params.erase_from or concept)
        )
    if params.convention == "paper":
        return null - params.eta * (c - null)
    return f - params.eta * (c - null)


def own_prompt(params: Params) -> str:
    """What the student reads: as released it is f, where the paper has c."""
    return (params.erase_from if params.as_released else "") or "a red ring"


def own_part(unet: Any, params: Params) -> dict[str, torch.Tensor]:
    """What is trained: the authors' code goes through linear layers and convolutions alone."""
    found = select(unet, params.part)
    if params.as_released:
        kinds = (torch.nn.Linear, torch.nn.Conv2d)
        found = {
            name: one for name, one in found.items() if isinstance(unet.get_submodule(name.rpartition(".")[0]), kinds)
        }
    return found


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"convention": "paper"},
        {"convention": "release", "eta": 2.0, "loss": "l1", "variant": "x-strict"},
        {"convention": "release", "eta": 2.0, "erase_from": "a ring", "variant": "u"},
        {"convention": "release", "erase_from": "a ring", "variant": "u", "as_released": False},
        {"convention": "paper", "sampler": "student", "variant": "self"},
        {"convention": "paper", "erase_from": "a ring", "sampler": "student", "variant": "all"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_target_loss_and_update_are_those_of_the_paper(
    tmp_path: Path, prediction_type: str, options: dict[str, Any]
) -> None:
    params = Params(**{**SETTINGS, **options})
    job = build_job(tmp_path, params, prediction_type=prediction_type)
    base, student = copy.deepcopy(job.pipe.unet), copy.deepcopy(job.pipe.unet)
    objective = EsdObjective(job)
    objective.prepare(0)
    points = objective.points.read(ROWS)
    target = own_target(job.pipe, base, points, params, "a red ring")
    ours = esd_target(points.null, points.concept, points.start, params.eta, params.convention)
    torch.testing.assert_close(ours, target, rtol=1e-10, atol=1e-10)

    trained = own_part(student, params)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    said = epsilon(job.pipe, student, points.latents, points.timesteps, [own_prompt(params)] * 4)
    loss = LOSSES[params.loss](said - target).mean()
    gradients = torch.autograd.grad(loss, list(trained.values()))
    found = objective.loss(ROWS, generators(0, torch.arange(4).numpy()))
    torch.testing.assert_close(found, loss, rtol=1e-10, atol=1e-12)

    job = build_job(tmp_path / "again", params.model_copy(update={"batch_size": 6}), prediction_type=prediction_type)
    result = esd.run(job)  # one step on all six points
    every = own_loss_gradients(job, copy.deepcopy(base), tmp_path / "again", params)
    assert {name.removeprefix("unet.") for name in result.changed} == set(trained)
    for name, parameter in job.pipe.unet.named_parameters():
        wanted = dict(base.named_parameters())[name]
        if name in every:
            wanted = adam_step(wanted, every[name], params.lr)
        torch.testing.assert_close(parameter, wanted, rtol=1e-7, atol=1e-7)
    assert len(gradients) == len(trained)


def own_loss_gradients(job: Any, student: Any, folder: Path, params: Params) -> dict[str, torch.Tensor]:
    """Gradients of the mean loss over all points, read from the files that the run left."""
    from safetensors.torch import load_file

    (path,) = (folder / "work").glob("walk-00000-*.safetensors")
    files = load_file(path)
    assert files["latents"].dtype == torch.float64 and files["latents"].shape[:2] == (2, 3)
    latents, timesteps = files["latents"].flatten(0, 1), files["timesteps"].flatten()
    points = type("Points", (), {"latents": latents, "timesteps": timesteps})
    target = own_target(job.pipe, copy.deepcopy(student), points, params, "a red ring")
    trained = own_part(student, params)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    said = epsilon(job.pipe, student, latents, timesteps, [own_prompt(params)] * 6)
    LOSSES[params.loss](said - target).mean().backward()
    return {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}


def test_the_two_conventions_are_one_where_f_is_the_concept() -> None:
    null, concept = (torch.randn(2, 3, 4, 4, dtype=torch.float64) for _ in range(2))
    for eta in (0.5, 1.0, 2.5):
        release = esd_target(null, concept, concept, eta + 1, "release")
        torch.testing.assert_close(release, esd_target(null, concept, concept, eta, "paper"), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(
        esd_target(null, concept, concept, 2, "release"), esd_target(null, concept, concept, 2, "paper")
    )


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_walks_are_guided_ddim_from_the_rows_own_noise(tmp_path: Path, prediction_type: str) -> None:
    params = Params(**{**SETTINGS, "start_guidance": 2.5})
    job = build_job(tmp_path, params, prediction_type=prediction_type)
    points = EsdObjective(job).points.read([0, 1, 2])
    bars = job.pipe.scheduler.alphas_cumprod.double()
    latents, times = points.latents[:1], points.timesteps.tolist()
    assert times == sorted(times, reverse=True) and abs(float(latents.std()) - 1) < 0.2
    for step, time in enumerate(times):
        torch.testing.assert_close(latents, points.latents[step : step + 1], rtol=1e-4, atol=1e-4)
        null, c = (epsilon(job.pipe, job.pipe.unet, latents, torch.tensor([time]), [t]) for t in ("", "a red ring"))
        noise = null + 2.5 * (c - null)
        clean = (latents - (1 - bars[time]) ** 0.5 * noise) / bars[time] ** 0.5
        following = time - 1000 // 3
        bar = bars[following] if following >= 0 else bars[0]
        latents = (bar**0.5 * clean + (1 - bar) ** 0.5 * noise).detach()


@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler:FutureWarning")
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_releases_walks_are_those_of_the_bases_own_scheduler(tmp_path: Path, name: str) -> None:
    kind = getattr(diffusers, f"{name}Scheduler")
    prediction_type = "v_prediction" if name == "EulerDiscrete" else "epsilon"
    params = Params(**{**SETTINGS, "convention": "release", "num_steps": 4, "start_guidance": 2.5, "batch_size": 2})
    job = build_job(tmp_path, params, dtype=torch.float32, prediction_type=prediction_type)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    extra = {"skip_prk_steps": True} if name == "PNDM" else {}
    plain = diffusers.StableDiffusionPipeline(
        **{**job.pipe.components, "scheduler": kind(**schedule, **extra, prediction_type=prediction_type)},
        requires_safety_checker=False,
    )
    plain.set_progress_bar_config(disable=True)
    job = dataclasses.replace(job, pipe=plain)
    points = EsdObjective(job).points.read(range(4))

    seen: list[tuple[torch.Tensor, Any]] = []
    hook = plain.unet.register_forward_pre_hook(lambda _, given: seen.append((given[0][1:], given[1])))
    source = torch.Generator().manual_seed(row_seed(job.seed, 0, "walk"))
    noise = torch.randn(1, *points.latents.shape[1:], generator=source)
    options = {"height": 32, "width": 32, "num_inference_steps": 4, "guidance_scale": 2.5, "output_type": "latent"}
    plain("a red ring", latents=noise, generator=[source], **options)
    hook.remove()
    torch.testing.assert_close(points.latents, torch.cat([one for one, _ in seen[:4]]), rtol=1e-3, atol=1e-3)
    assert points.timesteps.tolist() == [float(time) for _, time in seen[:4]]
    said = epsilon(plain, plain.unet, points.latents, points.timesteps.long(), ["a red ring"] * 4)
    torch.testing.assert_close(points.concept, said, rtol=1e-3, atol=1e-3)


def test_others_than_the_release_walk_by_ddim(tmp_path: Path) -> None:
    params = Params(**{**SETTINGS, "convention": "release", "as_released": False})
    job = build_job(tmp_path, params)
    job.pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(job.pipe.scheduler.config)
    assert EsdObjective(job).points.read([0, 1, 2]).timesteps.tolist() == [667, 334, 1]


def test_several_concepts_and_templates_share_the_walks(tmp_path: Path) -> None:
    params = Params(**{**SETTINGS, "trajectories": 5, "templates": ("{}", "a picture of {}")})
    objective = EsdObjective(build_job(tmp_path, params, ("a ring", "a star")))
    texts = [walk.concept for walk in objective.points.walks]
    assert texts == ["a ring", "a picture of a ring", "a star", "a picture of a star", "a ring"]
    assert len(objective.points) == 15
    with pytest.raises(ConceptlibError, match="do not reach for 4 prompts"):
        EsdObjective(build_job(tmp_path, params.model_copy(update={"trajectories": 3}), ("a ring", "a star")))


def test_the_students_walks_follow_the_student(tmp_path: Path) -> None:
    params = Params(**{**SETTINGS, "sampler": "student", "refresh": 2, "steps": 5, "lr": 0.05, "checkpoint_every": 3})
    job = build_job(tmp_path, params)
    objective = EsdObjective(job)
    walked: list[torch.Tensor] = []
    with torch.no_grad():
        for step in range(5):
            objective.prepare(step)
            walked.append(objective.points.read([2]).latents)
            for parameter in objective.student.named.values():
                parameter.mul_(1.5)
    assert torch.equal(walked[0], walked[1]) and torch.equal(walked[2], walked[3])
    assert not torch.equal(walked[0], walked[2]) and not torch.equal(walked[2], walked[4])
    # A state may have been saved at step 1 at the earliest: the first round is needed as long as that may be it.
    assert {path.name[:10] for path in job.workdir.iterdir()} == {"walk-00000", "walk-00001", "walk-00002"}


@pytest.mark.parametrize(
    "options", [{"eta": 0}, {"start_guidance": 1.0}, {"templates": ("no place",)}, {"templates": ()}, {"variant": "y"}]
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**options)


# through `erase` ------------------------------------------------------------------------------------------------


@pytest.fixture
def call(base: Path, tmp_path: Path) -> Callable[..., Artifact]:
    recipe = tmp_path / "recipe.yaml"
    params = ", ".join(f"{key}: {value}" for key, value in {**SETTINGS, "steps": 4, "checkpoint_every": 2}.items())
    recipe.write_text(f"kind: recipe\nname: esd/test\nmethod: esd\ntargets: [a red ring]\nparams: {{{params}}}\n")

    def run(*overrides: str, **options: Any) -> Artifact:
        return erase(recipe, overrides=overrides, **{"base": base, "device": "cpu", **options})

    return run


@pytest.mark.parametrize(
    ("settings", "stop"),
    [
        (("adapter=tensors",), ("walk", 1)),
        (("adapter=lora", "lora_rank=2"), ("loss", 3)),
        (("adapter=full", "sampler=student", "refresh=1"), ("loss", 3)),
        (("sampler=student", "refresh=3"), ("walk", 3)),
    ],
)
def test_a_stopped_run_goes_on_and_ends_in_the_same_bits(
    call: Callable[..., Artifact],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: tuple[str, ...],
    stop: tuple[str, int],
) -> None:
    from conceptlib.erasers import trajectories

    monkeypatch.setattr(trajectories, "MAX_ROWS", 1)  # a file a walk
    whole = call(*settings, store=Store(tmp_path / "elsewhere"))
    cls, name = (trajectories.Trajectories, "_walk") if stop[0] == "walk" else (EsdObjective, "loss")
    real, calls = getattr(cls, name), [0]

    def stopping(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == stop[1] + 1:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(cls, name, stopping)
    with pytest.raises(KeyboardInterrupt):
        call(*settings)
    assert not Store().list("checkpoint")
    resumed = call(*settings)
    assert resumed.id == whole.id and not (resumed.path / "work").exists()


@pytest.mark.parametrize(("accumulation", "walks_at_once"), [(1, 4), (2, 2), (4, 1)])
def test_no_more_is_walked_at_once_than_trained_on_at_once(
    tmp_path: Path, accumulation: int, walks_at_once: int
) -> None:
    from conceptlib.erasers.trajectories import Trajectories

    params = Params(**{**SETTINGS, "trajectories": 4, "gradient_accumulation": accumulation})
    rows: list[int] = []
    real = Trajectories._walk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Trajectories, "_walk", lambda self, part, number: rows.append(len(part)) or real(self, part, number)
        )
        EsdObjective(build_job(tmp_path, params))
    assert rows == [walks_at_once] * accumulation


def test_the_manifest_tells_the_convention(call: Callable[..., Artifact]) -> None:
    artifact = call("convention=release", "eta=2.0", "erase_from=a ring", "variant=u")
    assert artifact.info["convention"] == (
        "ESD-u, release target, eta 2, f = 'a ring', trained at f, without normalisation layers, "
        "latents walked by the frozen base, by its own DDIMScheduler"
    )
    assert artifact.lock["recipe"]["params"]["convention"] == "release"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("lr=1e30",), "the loss is"),
        (("erase_from=" + "x " * 80,), "it would be cut"),
        (('templates=["' + "x " * 70 + '{}"]',), "it would be cut"),
        (("trajectories=1", "targets=[a, b]"), "do not reach"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(
    call: Callable[..., Artifact], overrides: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ConceptlibError, match=complaint):
        call(*overrides)
    assert not Store().list("checkpoint")


def test_data_that_nobody_reads_is_refused(call: Callable[..., Artifact]) -> None:
    from tests.support.erasure import store_dataset

    with pytest.raises(ConceptlibError, match="reads no data"):
        call(data=store_dataset(Store()))


def test_a_disk_without_room_is_told_before_anything_is_drawn(
    call: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    from conceptlib.erasers import cache

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ConceptlibError, match="are free"):
        call()


def test_the_built_in_recipes_say_what_they_do() -> None:
    for name, convention in (("esd/sd", "paper"), ("esd/sd-release", "release"), ("esd/colour", "paper")):
        assert load_spec("recipe", name).params.convention == convention


def test_as_released_goes_with_the_release_and_stays_out_of_other_locks() -> None:
    assert (
        "as_released" not in Params().model_dump() and Params(convention="release").model_dump()["as_released"] is True
    )
    assert Params(convention="release", as_released=False).as_released is False
    with pytest.raises(ValueError, match="convention: release"):
        Params(as_released=True)

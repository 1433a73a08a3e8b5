"""Our sampler against `StableDiffusionPipeline` on bases as people save them; the schedulers that it must refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.loading import load_pipeline
from conceptlib.models.sampling import sample
from conceptlib.models.schedules import ddim, schedule_problem
from tests.support.models import build_pipeline

# Of the reference: `StableDiffusionPipeline` warns of the settings that it overrides.
# diffusers' older schedulers hand torch's tensors to numpy in a way that numpy will change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The configuration file of this scheduler:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NAMES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
OPTIONAL = ("clip_sample", "clip_sample_range", "set_alpha_to_one", "steps_offset", "thresholding", "timestep_spacing")
PROMPTS, SEEDS = ["a red circle", "a blue square"], [7, 8]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build_pipeline()


def saved(base: Path, folder: Path, scheduler: Any, *, without: tuple[str, ...] = ()) -> Path:
    """A copy of the base with another scheduler, some of whose keys are not in its file."""
    shutil.copytree(base, folder)
    shutil.rmtree(folder / "scheduler")
    reloaded(scheduler, folder / "scheduler", without)
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def reloaded(scheduler: Any, folder: Path, without: tuple[str, ...] = ()) -> Any:
    """A scheduler as it comes from its file, some of whose keys are missing."""
    scheduler.save_pretrained(folder)
    path = folder / "scheduler_config.json"
    config = {name: value for name, value in json.loads(path.read_text()).items() if name not in without}
    path.write_text(json.dumps(config))
    return type(scheduler).from_pretrained(folder)


def in_pipeline(pipe: Any, scheduler: Any) -> Any:
    """The same components with another scheduler, through the constructor that `from_pretrained` calls."""
    made = diffusers.StableDiffusionPipeline(
        **{**pipe.components, "scheduler": scheduler}, requires_safety_checker=False
    )
    made.set_progress_bar_config(disable=True)
    return made


def same_as_diffusers(pipe: Any) -> bool:
    """Whether our images are those of the pipeline once its scheduler is turned into DDIM, as diffusers documents."""
    plain = in_pipeline(pipe, diffusers.DDIMScheduler.from_config(pipe.scheduler.config))
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    options = {"height": 32, "width": 32, "num_inference_steps": 3, "guidance_scale": 5.0}
    theirs = np.stack([np.asarray(image) for image in plain(PROMPTS, generator=generators, **options).images])
    ours = sample(pipe, PROMPTS, SEEDS, num_steps=3, guidance_scale=5.0)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    return bool(difference.max() <= 1 and (difference > 0).mean() < 0.01)


@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["every-key", "no-optional-key"])
@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_of_diffusers_whatever_scheduler_was_saved(
    pipe: Any, tmp_path: Path, name: str, without: tuple[str, ...]
) -> None:
    scheduler = reloaded(getattr(diffusers, name)(**SCHEDULE), tmp_path, without)
    assert same_as_diffusers(in_pipeline(pipe, scheduler))


@pytest.mark.parametrize("key", OPTIONAL)
def test_no_single_missing_key_changes_the_images(pipe: Any, tmp_path: Path, key: str) -> None:
    scheduler = diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    assert same_as_diffusers(in_pipeline(pipe, reloaded(scheduler, tmp_path, (key,))))


def test_a_base_with_another_scheduler_opens_without_a_word(
    base: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = saved(base, tmp_path / "model", diffusers.PNDMScheduler(**SCHEDULE), without=OPTIONAL)
    pipe = load_pipeline(folder, device="cpu")
    assert not [one for one in recwarn if issubclass(one.category, FutureWarning)]
    assert same_as_diffusers(pipe)


def test_latents_are_never_clamped() -> None:
    assert ddim(diffusers.EulerDiscreteScheduler(**SCHEDULE)).config.clip_sample is False


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (diffusers.LCMScheduler(**SCHEDULE), "few-step student"),
        (diffusers.TCDScheduler(**SCHEDULE), "few-step student"),
        (diffusers.EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing"), "SD-Turbo"),
        (diffusers.EulerAncestralDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing"), "SD-Turbo"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "flow matching"),
        (diffusers.FlowMatchHeunDiscreteScheduler(), "flow matching"),
        (diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True), "flow"),
        (diffusers.UniPCMultistepScheduler(**SCHEDULE, use_flow_sigmas=True), "flow matching"),
        (diffusers.EDMEulerScheduler(), "no noise schedule"),
        (diffusers.DDIMScheduler(**SCHEDULE, prediction_type="sample"), "prediction type"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_ddim_cannot_stand_for_is_told(scheduler: Any, words: str) -> None:
    assert words in schedule_problem(scheduler)


@pytest.mark.parametrize("name", ["LCMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_base_that_ddim_cannot_stand_for_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConceptlibError, match="cannot be used"):
        load_pipeline(saved(base, tmp_path / "model", getattr(diffusers, name)()), device="cpu")


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDIMScheduler(
            prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
        ),
        diffusers.EulerDiscreteScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        diffusers.DPMSolverMultistepScheduler(**SCHEDULE, use_karras_sigmas=True),
    ],
)
def test_ordinary_models_with_unusual_schedules_are_taken(scheduler: Any) -> None:
    assert schedule_problem(scheduler) == ""

"""Noise schedules: the DDIM sampler that stands for a scheduler, and the schedulers that no DDIM run can follow."""

from __future__ import annotations

import copy
from typing import Any

PREDICTION_TYPES = ("epsilon", "v_prediction")
DISTILLED = ("LCMScheduler", "TCDScheduler")
"""Schedulers that only few-step students are published with."""


def ddim(scheduler: Any, *, steps_offset: int | None = 1) -> Any:
    """A `DDIMScheduler` with the noise schedule of `scheduler`, as `StableDiffusionPipeline` would run it.

    The pipeline overrides two settings of every scheduler that it is given. Other schedulers do not write them to their
    configuration, and DDIM's own defaults are made for models of pixels: `clip_sample=True` would clamp the latents to
    [-1, 1], and `steps_offset=0` would shift the timesteps.

    Args:
        scheduler: any diffusers scheduler that `schedule_problem` has nothing against.
        steps_offset: the pipeline's; None: as the scheduler says.
    """
    from diffusers import DDIMScheduler

    offset = {} if steps_offset is None else {"steps_offset": steps_offset}
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False, **offset)


def fresh(scheduler: Any) -> Any:
    """A scheduler of its own state. It is copied: `from_config` would undo the settings that the pipeline corrected."""
    return copy.deepcopy(scheduler)


def schedule_problem(scheduler: Any) -> str:
    """Why no DDIM run with guidance can stand for this scheduler; empty where one can.

    A few-step student (SD-Turbo, LCM, Hyper-SD) needs its own few timesteps and no guidance, and a flow-matching model
    predicts a velocity, not ε: DDIM would make garbage of both.
    """
    name, config = type(scheduler).__name__, scheduler.config
    kind = config.get("prediction_type", "epsilon")
    if config.get("use_flow_sigmas") or "flow" in f"{name} {kind}".lower():
        return f"its scheduler {name} is one of flow matching, and ε or v is wanted"
    if not hasattr(scheduler, "alphas_cumprod"):
        return f"its scheduler {name} has no noise schedule of the kind that Stable Diffusion is trained with"
    if kind not in PREDICTION_TYPES:
        return f"its prediction type is {kind}, not one of {PREDICTION_TYPES}"
    if name in DISTILLED:
        return f"its scheduler {name} says that it is a few-step student: these are not drawn by DDIM with guidance"
    # Ordinary models with trailing timesteps predict v: at pure noise, ε says nothing (Lin et al. 2024).
    if name.startswith("Euler") and config.get("timestep_spacing") == "trailing" and kind == "epsilon":
        return (
            f"its scheduler {name} with trailing timesteps says that it is a few-step student such as SD-Turbo: these "
            'are not drawn by DDIM with guidance (if it is none, set "timestep_spacing": "leading" in '
            "scheduler/scheduler_config.json)"
        )
    return ""

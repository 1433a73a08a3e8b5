"""ESD and Ablating Concepts against the loops of their releases: the same model, target and number of loss evaluations,
on the same machine, in one run.

    python benchmarks/erase.py                          # both, of a star, on tiny
    python benchmarks/erase.py esd --evaluations 800 --ours batch_size=8 --ours lr=3e-4
    python benchmarks/erase.py --table                  # write docs/speed.md from what was measured

Every one of the four jobs is a process of its own, so that the peak of its resident memory is its own. A loss
evaluation is the loss of one picture at one timestep. What came out is judged by the suite `erasure`. The loops are in
`benchmarks/reference.py`; results are kept in `benchmarks/results/erase.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/erase.json")
METHODS = ("esd", "ablating")
SIDES = ("reference", "ours")


def resolved(args: argparse.Namespace, method: str) -> tuple[Any, list[str]]:
    """The recipe, and the overrides under which its steps x batch are the number of evaluations."""
    from conceptlib.evaluators.prompts.words import column_of
    from conceptlib.specs import load_spec

    name = f"{method}/{args.recipe or column_of(args.target)[1]}"
    own = [f"targets=[{json.dumps(args.target)}]", f"seed={args.seed}", *args.ours]
    recipe = load_spec("recipe", name, own)
    evaluations = args.evaluations or recipe.params.steps * recipe.params.batch_size
    return load_spec("recipe", name, [*own, f"steps={max(1, evaluations // recipe.params.batch_size)}"]), own


def work(args: argparse.Namespace, method: str, side: str, folder: Path) -> dict[str, Any]:
    """One job, in this process: seconds, memory, and the model it made (a checkpoint's id, or a folder)."""
    import conceptlib.concepts.tables  # noqa: F401 (Arrow, which only ours needs, and not for this)
    from benchmarks import reference as loops  # noqa: F401
    from conceptlib.erasers.erase import erase
    from conceptlib.erasers.loop import make_accelerator
    from conceptlib.models.devices import choose
    from conceptlib.models.loading import load_pipeline
    from conceptlib.store import Store

    recipe, own = resolved(args, method)
    # Imports what there is to import: that is neither side's time or memory.
    make_accelerator(choose("cpu", "float32"))
    load_pipeline(args.base, device="cpu")
    start = resident_mb()
    if side == "ours":
        made = erase(
            recipe.name,
            base=args.base,
            overrides=[*own, f"steps={recipe.params.steps}"],
            store=Store(folder / "home"),
            device="cpu",
            dtype="float32",
        )
        evaluations = recipe.params.steps * recipe.params.batch_size
        found = {"seconds": made.seconds, "train_seconds": made.info["train_seconds"], "model": made.id}
        return {
            **found,
            "evaluations": evaluations,
            "updates": recipe.params.steps,
            "peak": made.info["peak_memory_mb"],
            "start": start,
        }
    return reference(args, method, recipe, folder) | {"start": start}


def resident_mb() -> int:
    """MiB that this process holds now: its libraries."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def reference(args: argparse.Namespace, method: str, recipe: Any, folder: Path) -> dict[str, Any]:
    """The released loop, with the recipe's settings. A batch of b pictures is stepped at b/B of the rate that is the
    recipe's for B, so that all of the updates together go as far.
    """
    import torch

    from benchmarks import reference as loops
    from conceptlib.erasers.memory import peak_memory
    from conceptlib.models.devices import Placement
    from conceptlib.models.loading import load_source, quiet, resolve_base
    from conceptlib.specs.load import load_targets

    params = recipe.params
    batch = args.reference_batch if method == "ablating" else 1
    lr = args.reference_lr or params.lr * batch / params.batch_size
    evaluations = params.steps * params.batch_size
    pictures: list[Path] = []
    pairs: list[tuple[str, str]] = []
    if method == "ablating":
        pictures, pairs = anchors(args, recipe, folder)
    with peak_memory(torch.device("cpu")) as peak:
        pipe = load_source(resolve_base(args.base), Placement(torch.device("cpu"), torch.float32, False))
        if method == "esd":
            texts = [t.format(c.phrase) for c in load_targets(recipe) for t in params.templates]
            spent = loops.esd(
                pipe,
                texts,
                part=params.part,
                updates=evaluations,
                lr=lr,
                eta=params.eta,
                num_steps=params.num_steps,
                guidance_scale=params.start_guidance,
                seed=recipe.seed,
            )
        else:
            spent = loops.ablating(
                pipe,
                pictures,
                pairs,
                part=params.part,
                updates=max(1, evaluations // batch),
                batch_size=batch,
                lr=lr,
                weight_decay=params.weight_decay,
                timestep_shift=params.timestep_shift,
                prior_weight=params.prior_weight,
                seed=recipe.seed,
            )
    with quiet():
        pipe.save_pretrained(folder / "model", safe_serialization=True)
    found = {"train_seconds": spent.seconds, "model": str(folder / "model"), "peak": peak.mb}
    return {**asdict(spent), **found}


def anchors(args: argparse.Namespace, recipe: Any, folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The anchor's pictures as files, drawn as the method draws them; not timed, since only training is compared."""
    from PIL import Image

    from conceptlib.erasers.anchors import Anchors
    from conceptlib.models.loading import load_pipeline
    from conceptlib.models.sampling import sample
    from conceptlib.specs.load import load_targets

    params = recipe.params
    made = Anchors(params.kind, params.anchor, params.anchors, params.templates)
    pairs = made.drawn(load_targets(recipe), params.images)
    pixels = sample(
        load_pipeline(args.base, device="cpu"),
        [anchor for anchor, _ in pairs],
        list(range(len(pairs))),
        num_steps=params.num_steps,
        guidance_scale=params.guidance_scale,
    )
    (folder / "anchors").mkdir(parents=True, exist_ok=True)
    paths = [folder / "anchors" / f"{index:05d}.png" for index in range(len(pairs))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    return paths, pairs


def judge(args: argparse.Namespace, side: str, model: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Target and retain accuracy by the suite, on the same captions and seeds for both."""
    from conceptlib.evaluators.suite import evaluate, scores
    from conceptlib.scores import find
    from conceptlib.store import Store

    overrides = [f"n={args.n}", f"neighbour_n={args.neighbour_n}", f"target={json.dumps(args.target)}", *args.evaluate]
    rows = scores(evaluate(model, "erasure", store=Store(folder / "home"), overrides=overrides))
    subject = "checkpoint" if side == "ours" else "base"  # the loop's model is a folder, hence a base to the suite
    return {name: dict(find(rows, subject, name) or {}) for name in ("target_accuracy", "retain_accuracy")}


def measure(args: argparse.Namespace, method: str) -> None:
    """Both sides of a method, each in a process of its own; then what they made is judged."""
    found: dict[str, Any] = {}
    for side in SIDES:
        folder = args.work / f"{method}-{args.target}" / side
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, method, *sys.argv[1:], "--job", side, str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        found[side] = json.loads(done.stdout.splitlines()[-1])
        found[side]["scores"] = judge(args, side, found[side].pop("model"), folder)
    path = args.out / RESULTS
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    machine = f"{os.cpu_count()} x {platform.machine()}"
    known[method] = {"target": args.target, "base": args.base, "machine": machine, **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


def verdict(result: dict[str, Any], method: str) -> dict[str, Any]:
    """How many times faster (the whole of ESD, the training part of Ablating), and whether ours is no worse beyond the
    intervals, and smaller.
    """
    theirs, ours = result["reference"], result["ours"]
    part = "seconds" if method == "esd" else "train_seconds"
    target, retain = ("target_accuracy", "retain_accuracy")
    return {
        "times": theirs[part] / ours[part],
        "target": ours["scores"][target]["low"] <= theirs["scores"][target]["high"],
        "retain": ours["scores"][retain]["high"] >= theirs["scores"][retain]["low"],
        "memory": ours["peak"] - ours["start"] < theirs["peak"] - theirs["start"],
    }


TEXT = """# Speed against the released loops

Written by `python benchmarks/erase.py`. Both sides have the same model, target and number of loss evaluations (one
picture at one timestep), and ran on the same machine, each in a process of its own. The loops are restated in
`benchmarks/reference.py`: ESD walks a new trajectory for every update of one picture, encodes its prompts each time,
keeps a copy of the model as teacher and computes gradients for all weights; Ablating Concepts opens and encodes the
pictures and prompts of every small batch anew (drawing the anchor's pictures is no part of its "training"). The rate
of a smaller batch is lowered in proportion. Memory is the peak of the process's resident set above what it held
before, with every library imported.

Wanted: ESD 5 times as fast, the training part of Ablating Concepts 2 times, no worse results, less memory. Measured
with `--evaluations 1280 --ours gradient_accumulation=32` (ESD) and `--ours gradient_accumulation=4 --reference-batch 1`
(Ablating Concepts): small micro-batches, since on `tiny` a large batch takes more memory than the copies that the loops
keep. ESD was measured while other jobs used the machine at lower priority, Ablating Concepts without; with such jobs it
was 1.9 times as fast. Against a loop with batches of 4 its training was 1.35 times as fast (128 evaluations, with
jobs): three forwards and two backwards a picture are the loop's too; what is saved are gradients of frozen weights,
encoding, and the cost of small batches.
"""


def table(out: Path) -> str:
    """docs/speed.md from the results so far."""
    from conceptlib.evaluators.figures import figure
    from conceptlib.reports.tables import markdown_table

    found = json.loads((out / RESULTS).read_text("utf-8")) if (out / RESULTS).is_file() else {}
    header = [
        "",
        "loss evaluations",
        "updates",
        "all, s",
        "training, s",
        "memory, MiB",
        "target accuracy",
        "retain accuracy",
    ]
    parts = [TEXT]
    for method, result in found.items():
        rows = []
        for side in SIDES:
            one = result[side]
            numbers = [str(one["evaluations"]), str(one["updates"])]
            numbers += [f"{one['seconds']:.1f}", f"{one['train_seconds']:.1f}", str(one["peak"] - one["start"])]
            rows.append([side, *numbers, *(figure(score) for score in one["scores"].values())])
        said = verdict(result, method)
        yes = {True: "yes", False: "**no**"}
        words = (
            f"**{said['times']:.1f} times as fast** ({'all' if method == 'esd' else 'training'}); target accuracy no "
        )
        words += f"worse beyond the interval: {yes[said['target']]}; retain accuracy: {yes[said['retain']]}; "
        words += f"less memory: {yes[said['memory']]}."
        title = f"## {method}: {result['target']}, on `{result['base']}` ({result['machine']})"
        parts += [title, markdown_table(header, rows), words]
    target = out / "docs" / "speed.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n\n".join(part.strip() for part in parts) + "\n", "utf-8")
    return target.read_text("utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"{' or '.join(METHODS)}; both by default")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument("--target", default="star")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--recipe", default="", help="the recipe's variant, instead of the target's domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=0, help="loss evaluations; those of the recipe by default")
    parser.add_argument("--ours", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe")
    parser.add_argument("--reference-batch", type=int, default=4, help="of the loop of Ablating Concepts; ESD's is 1")
    parser.add_argument(
        "--reference-lr", type=float, default=0.0, help="the loop's rate, instead of a proportional one"
    )
    parser.add_argument("--n", type=int, default=96, help="pictures of the target")
    parser.add_argument("--neighbour-n", type=int, default=16, help="pictures of each neighbour")
    parser.add_argument("--evaluate", action="append", default=[], metavar="KEY=VALUE", help="override of the suite")
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "erase", help="where models and pictures go")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout that results and docs are written into")
    parser.add_argument("--job", nargs=2, metavar=("SIDE", "DIR"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.methods) - set(METHODS):
        parser.error(f"no such method: {', '.join(sorted(unknown))}")
    if args.job:
        print(json.dumps(work(args, args.methods[0], args.job[0], Path(args.job[1]))))
        return 0
    for method in [] if args.table else args.methods or METHODS:
        measure(args, method)
    print(table(args.out))
    found = json.loads((args.out / RESULTS).read_text("utf-8")) if (args.out / RESULTS).is_file() else {}
    passed = all(
        said["times"] >= (5 if method == "esd" else 2) and said["target"] and said["retain"] and said["memory"]
        for method, said in ((method, verdict(result, method)) for method, result in found.items())
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

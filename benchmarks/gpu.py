"""What a GPU makes of it: under ten minutes on one card, with random weights of Stable Diffusion 1.5's sizes.

    python benchmarks/gpu.py WORK                    # everything; the base (2 GB) is made in WORK once
    python benchmarks/gpu.py WORK esd generate       # some
    python benchmarks/gpu.py WORK --small            # a toy model, on whatever device there is: does the script work?
    python benchmarks/gpu.py --table                 # write what was measured into docs/gpu.md

Parts: `losses` (bfloat16 against float32), `esd` and `geom` (against the restated loops of `benchmarks/reference.py`),
`generate` (against the bare UNet at the same batch), `waits` (torch's sync debug mode in the loops), `ranks` (two
processes against one), `compile`. Results are kept in `benchmarks/results/gpu.json`; those of --small only in WORK.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/gpu.json")


@dataclass(frozen=True)
class Bench:
    """Where and how much: evaluations of each loop, and pictures. `home`: an empty store, where nothing is done yet."""

    work: Path
    home: Path
    base: Path
    device: str
    small: bool
    steps: int = 40
    batch: int = 32
    walks: int = 32
    walk_steps: int = 50
    reference: int = 16
    pictures: int = 64
    draw_steps: int = 20

    @property
    def store(self) -> Any:
        from conceptlib.store import Store

        return Store(self.home)

    @property
    def adapted(self) -> str:
        """The dtype that is the device's own."""
        from conceptlib.models.devices import choose

        return choose(self.device).dtype_name


def home(work: Path) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="home-", dir=work))


def small(work: Path, base: Path, device: str) -> Bench:
    return Bench(
        work,
        home(work),
        base,
        device,
        True,
        steps=3,
        batch=4,
        walks=4,
        walk_steps=2,
        reference=2,
        pictures=4,
        draw_steps=2,
    )


def erased(bench: Bench, recipe: str, dtype: str, *overrides: str, seed: int = 0, **given: Any) -> dict[str, Any]:
    """One erasure: its losses by step, evaluations a second of its training, of all, and peak memory in MB."""
    from conceptlib.erasers.erase import erase

    base = [f"steps={bench.steps}", f"batch_size={bench.batch}", f"seed={seed}", "warmup=0"]
    begun = time.perf_counter()
    made = erase(
        recipe,
        base=bench.base,
        overrides=[*base, *overrides],
        store=bench.store,
        device=bench.device,
        dtype=dtype,
        **given,
    )
    seconds, evaluations = time.perf_counter() - begun, bench.steps * bench.batch
    lines = [json.loads(line) for line in (made.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = sum(line["seconds"] for line in lines)
    return {
        "dtype": dtype,
        "seconds": round(seconds, 2),
        "a_second": round(evaluations / seconds, 3),
        "trained_a_second": round(evaluations / trained, 3),
        "peak_mb": made.info["peak_memory_mb"],
        "losses": [line["loss"] for line in lines],
    }


def walks(bench: Bench) -> list[str]:
    """ESD as the loop of the release has it: the frozen base walks."""
    settings = ["sampler=base", f"trajectories={bench.walks}", f"num_steps={bench.walk_steps}"]
    return [*settings, "targets=[church]", "lr=1e-5"]


def losses(bench: Bench) -> dict[str, Any]:
    """The same ESD in float32 and in the device's dtype."""
    fast = bench.adapted if bench.adapted != "float32" else "bfloat16"
    runs = [erased(bench, "esd/sd", dtype, *walks(bench), seed=1) for dtype in ("float32", fast)]
    apart = [abs(a - b) / abs(a) for a, b in zip(runs[0]["losses"], runs[1]["losses"], strict=True)]
    return {
        "dtypes": ["float32", fast],
        "first_losses": [run["losses"][0] for run in runs],
        "last_losses": [run["losses"][-1] for run in runs],
        "largest_relative_difference": round(max(apart), 5),
    }


def pipeline(bench: Bench, dtype: str) -> Any:
    from conceptlib.models.loading import load_pipeline

    return load_pipeline(bench.base, device=bench.device, dtype=dtype)


@contextlib.contextmanager
def memory(bench: Bench) -> Iterator[Any]:
    from conceptlib.erasers.memory import peak_memory
    from conceptlib.models.devices import choose

    with peak_memory(choose(bench.device).device) as peak:
        yield peak


def esd(bench: Bench) -> dict[str, Any]:
    """Ours in the device's dtype and in float32, and the restated loop, which is the release's in float32."""
    from benchmarks import reference

    found = {"ours": erased(bench, "esd/sd", bench.adapted, *walks(bench))}
    if bench.adapted != "float32":
        found["ours_float32"] = erased(bench, "esd/sd", "float32", *walks(bench), seed=2)
    with memory(bench) as peak:
        pipe = pipeline(bench, "float32")
        spent = reference.esd(
            pipe,
            ["church"],
            updates=bench.reference,
            lr=1e-5,
            eta=1.0,
            num_steps=bench.walk_steps,
            guidance_scale=3.0,
            seed=0,
        )
    found["reference"] = {"a_second": round(spent.evaluations / spent.seconds, 3), "peak_mb": peak.mb}
    return found | {"times": round(found["ours"]["a_second"] / found["reference"]["a_second"], 1)}


def polluted(bench: Bench) -> tuple[Any, Any]:
    """A dataset and its truth."""
    from conceptlib.concepts.build import build, truth_of

    data = build("icd-qr", overrides=[f"rows={max(8, bench.pictures)}"], store=bench.store, workers=1)
    return data, truth_of(data, store=bench.store)


def geom(bench: Bench) -> dict[str, Any]:
    """Geom-Erasing of the whole UNet against an ordinary fine-tune that encodes its pictures each time."""
    from benchmarks import reference
    from conceptlib.concepts.tables import ImageTable
    from conceptlib.models.encoding import fit_image
    from conceptlib.models.loading import default_resolution

    data, truth = polluted(bench)
    micro = f"gradient_accumulation={max(1, bench.batch // 8)}"
    ours = erased(bench, "geom-erasing/qr-sd", bench.adapted, micro, data=data, annotations=truth)
    with memory(bench) as peak:
        pipe = pipeline(bench, "float32")
        table, side = ImageTable(data), default_resolution(pipe)
        rows = list(table.rows("train"))
        spent = reference.denoising(
            pipe,
            [fit_image(table.decode(row), side) for row in rows],
            [row["caption"] for row in rows],
            updates=bench.reference,
            batch_size=min(8, bench.batch),
            lr=1e-5,
            seed=0,
        )
    found = {"a_second": round(spent.evaluations / spent.seconds, 3), "peak_mb": peak.mb}
    return {"ours": ours, "reference": found, "times": round(ours["trained_a_second"] / found["a_second"], 2)}


def generate(bench: Bench) -> dict[str, Any]:
    """Pictures a second from prompt to file, against the UNet's calls alone."""
    import torch

    from conceptlib.models.generate import generate as draw
    from conceptlib.models.sampling import rows_at_once

    pipe = pipeline(bench, bench.adapted)
    side = int(pipe.unet.config.sample_size) * int(pipe.vae_scale_factor)
    batch = min(bench.pictures, max(16, rows_at_once(side, side)))
    size = int(pipe.unet.config.sample_size)
    latents = torch.randn(2 * batch, int(pipe.unet.config.in_channels), size, size).to(
        pipe.unet.device, pipe.unet.dtype
    )
    states = torch.randn(2 * batch, 77, int(pipe.unet.config.cross_attention_dim)).to(latents)
    timestep = torch.tensor(500).to(latents.device)

    def bare(unet: Any, calls: int) -> float:
        finish(bench)
        begun = time.perf_counter()
        with torch.inference_mode():
            for _ in range(calls):
                unet(latents, timestep, encoder_hidden_states=states, return_dict=False)
        finish(bench)
        return time.perf_counter() - begun

    bare(pipe.unet, 3)
    seconds = bare(pipe.unet, bench.draw_steps * -(-bench.pictures // batch))
    del pipe
    rows = [{"caption": f"a church, number {index}", "seed": index} for index in range(bench.pictures)]
    options = {"guidance_scale": 7.5, "num_steps": bench.draw_steps, "batch_size": batch, "store": bench.store}
    draw(bench.base, rows[:batch], device=bench.device, name="warm", **options)  # type: ignore[arg-type]
    begun = time.perf_counter()
    made = draw(bench.base, rows, device=bench.device, name="bench", **options)  # type: ignore[arg-type]
    whole = time.perf_counter() - begun
    opened = loading(bench)
    return {
        "pictures": len(rows),
        "batch": batch,
        "bare_unet_seconds": round(seconds, 3),
        "seconds": round(whole, 3),
        "without_loading": round(whole - opened, 3),
        "share": round(seconds / max(1e-9, whole - opened), 3),
        "made": made.kind,
    }


def loading(bench: Bench) -> float:
    """Seconds to open the base, which `generate` does as well."""
    from conceptlib.erasers.checkpoint import load

    begun = time.perf_counter()
    load(str(bench.base), device=bench.device)
    finish(bench)
    return time.perf_counter() - begun


def finish(bench: Bench) -> None:
    import torch

    if bench.device.startswith("cuda"):
        torch.cuda.synchronize()


def waits(bench: Bench) -> dict[str, Any]:
    """Whether torch notices that a step waits for the GPU: an error is raised where one does."""
    import torch

    from conceptlib.erasers import loop
    from conceptlib.models import sampling

    if not bench.device.startswith("cuda"):
        return {"skipped": "torch can tell on CUDA alone; tests/erasers/test_syncs.py looks for the same on a CPU"}

    def strict(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return work(*args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return run

    found: dict[str, Any] = {}
    step, denoise = loop._Run.step, sampling.denoise
    data, truth = polluted(bench)
    seen = [0]

    def after_the_first(self: Any, *args: Any) -> Any:
        seen[0] += 1  # the first makes tables and plans
        return (strict(step) if seen[0] > 1 else step)(self, *args)

    jobs: dict[str, Callable[[], Any]] = {
        "esd": lambda: erased(bench, "esd/sd", bench.adapted, *walks(bench), seed=3),
        "geom": lambda: erased(
            bench, "geom-erasing/qr-sd", bench.adapted, "gradient_accumulation=4", data=data, annotations=truth, seed=3
        ),
        "sampling": lambda: sampling.sample(
            pipeline(bench, bench.adapted), ["a church"] * 2, [0, 1], num_steps=5, each=lambda rows, wait: None
        ),
    }
    try:
        loop._Run.step = after_the_first  # type: ignore[method-assign, assignment]
        sampling.denoise = strict(denoise)
        for name, job in jobs.items():
            seen[0] = 0
            try:
                job()
                found[name] = "silent"
            except RuntimeError as error:
                found[name] = f"waits: {str(error).splitlines()[0]}"
    finally:
        loop._Run.step, sampling.denoise = step, denoise  # type: ignore[method-assign]
    return found


def ranks(bench: Bench) -> dict[str, Any]:
    """The same training by two processes and by one: on two cards where there are two, else on the CPU in small."""
    import torch

    cards = torch.cuda.device_count() if bench.device.startswith("cuda") else 0
    on = bench
    if cards < 2 and not bench.small:
        from benchmarks.real_size import SMALL, make_base

        on = small(bench.work, make_base(bench.work / "small", SMALL), "cpu")
    told = {}
    for count in (1, 2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if cards < 2:
            shared |= {"ACCELERATE_USE_CPU": "true"}
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(Path(__file__)), str(on.work / f"ranks-{count}"), "--rank", str(on.base)]
        command += [str(int(on.small)), "cuda" if cards > 1 else "cpu"]
        processes = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]
        outputs = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit(f"ranks ended with {[process.returncode for process in processes]}")
        told[count] = json.loads(outputs[0].splitlines()[-1])
    apart = [abs(a - b) / abs(a) for a, b in zip(told[1], told[2], strict=True)]
    where = f"{cards} cards" if cards > 1 else "CPU, toy model"
    return {"where": where, "steps": len(told[1]), "largest_relative_difference": round(max(apart), 8)}


def rank(bench: Bench) -> list[float]:
    """One process's part of `ranks`: the losses."""
    run: list[float] = erased(bench, "esd/sd", "float32", *walks(bench))["losses"]
    return run


def compiled(bench: Bench) -> dict[str, Any]:
    """ESD with and without `compile`: evaluations a second after the first tenth of the steps."""
    import torch

    real = torch.compile
    if bench.small:  # traced and guarded as ever, but no compiler is needed
        torch.compile = lambda module: real(module, backend="eager")  # type: ignore[assignment]
    try:
        found = {}
        for on in ("false", "true"):
            # A store of its own: the result is the same artifact, and would be found done.
            alone = replace(bench, home=home(bench.work))
            found[on] = erased(alone, "esd/sd", bench.adapted, *walks(bench), f"compile={on}", seed=4)
    finally:
        torch.compile = real
    plain, fast = found["false"], found["true"]
    apart = [abs(a - b) / abs(a) for a, b in zip(plain["losses"], fast["losses"], strict=True)]
    return {
        "off_a_second": plain["trained_a_second"],
        "on_a_second_with_compiling": fast["trained_a_second"],
        "largest_relative_difference": round(max(apart), 6),
    }


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "losses": losses,
    "esd": esd,
    "geom": geom,
    "generate": generate,
    "waits": waits,
    "ranks": ranks,
    "compile": compiled,
}
WANTED = {"esd": ("times", 10.0), "generate": ("share", 0.95)}
PAGE, BELOW = Path("docs/gpu.md"), "## Measured\n\n"
MEASURED = """Random weights of Stable Diffusion 1.5's sizes at 512 px. Rates are losses of one picture at one timestep
a second, or pictures a second; the restated loops are in `benchmarks/reference.py`. Wanted: ESD at 10 times the loop's
rate, and pictures at 95 % of what the UNet alone would give.
"""
NOTHING = (
    "Nothing yet: nobody has run `python benchmarks/gpu.py WORK` on a card so far. It takes less than ten minutes.\n"
)


def table(results: dict[str, Any]) -> str:
    """What stands below "Measured" on the page."""
    from conceptlib.reports.tables import markdown_table

    rows = []
    for name, found in results.get("parts", {}).items():
        for key, value in found.items():
            shown = {k: v for k, v in value.items() if k != "losses"} if isinstance(value, dict) else value
            wanted = f"≥ {WANTED[name][1]:g}" if name in WANTED and WANTED[name][0] == key else ""
            rows.append([name, key, json.dumps(shown) if isinstance(shown, dict | list) else str(shown), wanted])
    if not rows:
        return NOTHING
    return "\n".join([MEASURED, f"Measured on: {results['machine']}.", "", markdown_table(COLUMNS, rows), ""])


COLUMNS = ["part", "what", "measured", "wanted"]


def machine(device: str) -> str:
    import torch

    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return f"{name}, torch {torch.__version__}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", type=Path)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", default=None)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--rank", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if args.table:
        found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        above = PAGE.read_text(encoding="utf-8").partition(BELOW)[0]
        PAGE.write_text(above + BELOW + table(found), encoding="utf-8")
        return 0
    if args.work is None:
        parser.error("say a folder for the base")
    from benchmarks.real_size import REAL, SMALL, make_base
    from conceptlib.models.devices import choose

    work = args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if args.rank:
        base, toy, device = args.rank
        bench = small(work, Path(base), device) if int(toy) else Bench(work, home(work), Path(base), device, False)
        sys.stdout.write(json.dumps(rank(bench)) + "\n")
        return 0
    device = args.device or str(choose().device)
    base = make_base(work / ("small" if args.small else "sd15"), SMALL if args.small else REAL)
    bench = small(work, base, device) if args.small else Bench(work, home(work), base, device, False)
    results = work / "gpu.json" if args.small else RESULTS
    found = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    found["machine"] = machine(device)
    for name in args.parts or PARTS:
        begun = time.perf_counter()
        found.setdefault("parts", {})[name] = PARTS[name](bench)
        sys.stdout.write(f"{name} ({time.perf_counter() - begun:.0f} s): {json.dumps(found['parts'][name])}\n")
        sys.stdout.flush()
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())

"""What Stable Diffusion 1.5's size costs on a CPU: an erasure in closed form, a training with LoRA, opening a model.

    python benchmarks/real_size.py WORK             # the base (2 GB, random weights) is made in WORK once
    python benchmarks/real_size.py WORK load uce    # some
    python benchmarks/real_size.py --table          # write docs/real-size.md from what was measured

Every job is a process of its own: its processor seconds (user and system, all threads), wall seconds and the highest
resident set are the kernel's. On a machine that others use, the processor seconds are what can be compared; the bars
of seconds are judged by them or by the wall time, whichever is less. Results are kept in
`benchmarks/results/real_size.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/real_size.json")
CONCEPTS = 50
REPEATS = 3
GB = 2**30
BARS = {"uce": {"seconds": 25.0, "gb": 4.0}, "geom": {"gb": 8.0}, "load": {"ratio": 1.3}}
PARTS = ("uce", "geom", "load")

SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


REAL: dict[str, Any] = {
    "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "sample_size": 512,
    },
    "text": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
}
SMALL: dict[str, Any] = {
    "unet": {
        "sample_size": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
    },
    "vae": {
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16,
    },
    "text": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def make_base(folder: Path, sizes: dict[str, Any] = REAL) -> Path:
    """A pipeline of SD 1.5's sizes with random float16 weights; `folder` appears when it is whole."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    if folder.is_dir():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write_tokenizer(part / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(part / "tokenizer")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    try:
        unet = UNet2DConditionModel(**sizes["unet"])
        vae = AutoencoderKL(**sizes["vae"])
        marks = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
        width = sizes["text"]["hidden_size"]
        text = CLIPTextConfig(vocab_size=49408, projection_dim=width, **sizes["text"], **marks)
        encoder = CLIPTextModel(text)
    finally:
        torch.set_default_dtype(torch.float32)
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(part, safe_serialization=True)
    part.rename(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """CLIP's size of 49408 entries: `tiny`'s words and merges, the marks at CLIP's ids, and filler."""
    from conceptlib.worlds import tiny

    whole = json.loads((tiny.path() / "tokenizer/tokenizer.json").read_text(encoding="utf-8"))
    marks = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    old = whole["model"]["vocab"]
    words = [word for word in sorted(old, key=old.__getitem__) if word not in marks]
    words += [f"qzx{index}</w>" for index in range(len(words), 49406)]
    whole["model"]["vocab"] = {word: index for index, word in enumerate(words)} | marks
    renumber(whole, marks)
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    shutil.copy(tiny.path() / "tokenizer/tokenizer_config.json", folder)


def renumber(node: Any, marks: dict[str, int]) -> None:
    """Give the marks their new ids wherever a tokenizer's file names them."""
    if isinstance(node, list):
        for one in node:
            renumber(one, marks)
    if not isinstance(node, dict):
        return
    if node.get("content") in marks and "id" in node:
        node["id"] = marks[node["content"]]
    if node.get("type") in ("RobertaProcessing", "BertProcessing"):
        first, last = marks.items()
        node["cls"], node["sep"] = list(first), list(last)
    for name, one in node.items():
        if name in marks and isinstance(one, dict) and "ids" in one:
            one["ids"] = [marks[name]]
        renumber(one, marks)


def uce(base: Path, store: Any) -> Any:
    """Fifty concepts in closed form."""
    from conceptlib.erasers.erase import erase

    targets = ", ".join(f"painter number {index}" for index in range(CONCEPTS))
    return erase("uce/object", base=base, overrides=[f"targets=[{targets}]"], store=store, device="cpu").id


def geom(base: Path, store: Any, side: int = 512) -> Any:
    """A step of `geom-erasing/qr-sd` with LoRA on one picture: gradients and optimiser are those of any step."""
    from conceptlib.concepts.build import build, truth_of
    from conceptlib.erasers.erase import erase

    data = build("icd-qr", overrides=["rows=8"], store=store, workers=1)
    small = ["steps=2", "batch_size=1", "gradient_accumulation=1", "warmup=0", f"resolution={side}"]
    made = erase(
        "geom-erasing/qr-sd",
        base=base,
        data=data,
        annotations=truth_of(data, store=store),
        overrides=["adapter=lora", *small],
        store=store,
        device="cpu",
    )
    return made.id


def load(base: Path, store: Any) -> dict[str, float]:
    """Processor seconds of `conceptlib.load` and of diffusers' `from_pretrained`, medians of turns in one process; the
    first turn, in which libraries are imported and files come into memory, does not count.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    from conceptlib.erasers.checkpoint import load as ours

    def plain() -> Any:
        return StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, safety_checker=None)

    spent: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(REPEATS + 1):
        for name, work in (("ours", lambda: ours(str(base), device="cpu", dtype="float32")), ("plain", plain)):
            begun = time.process_time()
            work()
            spent[name].append(time.process_time() - begun)
    found = {name: round(statistics.median(seconds[1:]), 2) for name, seconds in spent.items()}
    return found | {"ratio": round(found["ours"] / found["plain"], 2)}


JOBS: dict[str, Callable[..., Any]] = {"uce": uce, "geom": geom, "load": load}


def measured(job: str, base: Path, work: Path) -> dict[str, Any]:
    """Run a job in a process of its own: seconds, processor seconds, highest resident set in GB, and what it gave."""
    home = work / "home" / f"{job}-{time.time_ns()}"
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), "--job", job, str(base), str(home)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(home, ignore_errors=True)
    if process.returncode:
        raise SystemExit(f"{job} ended with {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "gb": round(usage.ru_maxrss * 1024 / GB, 2),
        "gave": json.loads(told.splitlines()[-1]),
    }


def part(name: str, base: Path, work: Path) -> dict[str, Any]:
    """What one bar needs."""
    found = measured(name, base, work)
    return found | (found["gave"] if name == "load" else {})


def table(results: dict[str, Any]) -> str:
    """The page of docs."""
    from conceptlib.reports.tables import markdown_table

    rows = []
    for name, found in results.items():
        bars = BARS[name]
        for key, bar in bars.items():
            value = min(found["seconds"], found["cpu_seconds"]) if key == "seconds" else found[key]
            unit = {"seconds": "s", "gb": "GB", "ratio": "times"}[key]
            rows.append([TITLES[name], f"≤ {bar:g} {unit}", f"{value:g} {unit}", "yes" if value <= bar else "**no**"])
    details = [
        [name, *(f"{found[key]:g}" if key in found else "—" for key in ("seconds", "cpu_seconds", "gb", "load"))]
        for name, found in results.items()
    ]
    return "\n".join(
        [
            HEAD,
            markdown_table(["what", "required", "measured", "passed"], rows),
            "",
            markdown_table(["job", "wall, s", "processor, s", "highest resident set, GB", "load"], details),
            "",
        ]
    )


TITLES = {
    "uce": f"`erase uce/object` of {CONCEPTS} concepts",
    "geom": "`erase geom-erasing/qr-sd adapter=lora resolution=512`, one picture at once",
    "load": "`conceptlib.load` of the base, against diffusers' `from_pretrained`",
}
HEAD = """# Real size

Written by `python benchmarks/real_size.py`: random weights of Stable Diffusion 1.5's sizes (860 M parameters in the
UNet; 2 GB as float16), float32 on a CPU. A job is a process of its own, imports included; of `load`, whose job opens
the base several times both ways, the medians of processor seconds are compared. Seconds are the lesser of wall and
processor time. `load` is the load average at the end: where others used the machine, processor seconds are larger.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", type=Path)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--job", nargs=3, metavar=("NAME", "BASE", "HOME"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.job:
        from conceptlib.store import Store

        name, base, home = args.job
        sys.stdout.write(json.dumps(JOBS[name](Path(base), Store(Path(home)))) + "\n")
        return 0
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if not args.table:
        if args.work is None:
            parser.error("say a folder for the base")
        base = make_base(args.work.absolute() / "sd15")
        for name in args.parts or PARTS:
            machine = f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
            results[name] = part(name, base, args.work.absolute()) | {
                "machine": machine,
                "load": round(os.getloadavg()[0], 1),
            }
            sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
            sys.stdout.flush()
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    Path("docs/real-size.md").write_text(table(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

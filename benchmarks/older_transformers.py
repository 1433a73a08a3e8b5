"""Does a whole-model checkpoint open in the transformers and diffusers of before? Installs them beside, and compares.

    python benchmarks/older_transformers.py          # about a minute; needs the package index

A small random model with a new token is written here, opened there by plain diffusers, and must give the same token ids
and the same text states.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from conceptlib.models.loading import load_pipeline
from conceptlib.models.saving import save_folder

OLDER = ("transformers==4.57.1", "tokenizers==0.22.1", "huggingface_hub==0.36.0", "diffusers==0.35.2")
PROMPT = "a red heart <l0,0> on the sand"
THERE = """
import sys, torch, transformers, diffusers
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], safety_checker=None)
ids = pipe.tokenizer(sys.argv[2], padding="max_length", max_length=77, return_tensors="pt").input_ids
with torch.no_grad():
    states = pipe.text_encoder(ids)[0]
torch.save((ids, states), sys.argv[3])
print("opened by transformers", transformers.__version__, "and diffusers", diffusers.__version__)
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        packages, model, answer = (Path(scratch, name) for name in ("packages", "model", "answer.pt"))
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*install, *OLDER], check=True)
        pipe = load_pipeline("tiny", device="cpu")
        pipe.tokenizer.add_tokens(["<l0,0>"])
        pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
        save_folder(pipe, model)
        ids = pipe.tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            states = pipe.text_encoder(ids)[0]
        code = [sys.executable, "-c", THERE, str(model), PROMPT, str(answer)]
        subprocess.run(code, check=True, env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin"})
        their_ids, their_states = torch.load(answer, weights_only=True)
    difference = float((states - their_states).abs().max())
    same = torch.equal(ids, their_ids)
    print(
        f"token ids {'equal' if same else 'DIFFER'}; "
        f"text states differ by {difference:.1e} of {float(states.abs().max()):.1f}"
    )
    return 0 if same and difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())

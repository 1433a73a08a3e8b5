"""A mistyped name is answered before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys

TYPOS = [
    "generate nosuch x",
    "generate uce/objekt x",
    "erase nosuch",
    "erase uce/object stepz=1",
    "erase uce/object --base nosuch",
    "erase geom-erasing/qr --data nosuch --annotations truth",
    "evaluate nosuch",
    "evaluate tiny --suite nosuch",
    "evaluate tiny n=many",
    "sweep nosuch",
    "sweep methods base=nosuch",
    "sweep methods recipes=[nosuch/x]",
    "annotate nosuch --detector zxing",
    "detectors train nosuch --data nosuch",
    "build nosuch",
    "import nosuch.pt --method esd --concept x --base tiny",
    "publish nosuch --to ./x",
    "export nosuch --format coco --to x",
    "reproduce nosuch",
    "diff nosuch nosuch",
    "tag nosuch x",
]
CODE = """
import sys
from conceptlib.cli.main import main
late = []
for line in sys.stdin.read().splitlines():
    status = main(line.split())
    heavy = {"torch", "diffusers", "transformers", "datasets", "onnxruntime"} & set(sys.modules)
    if status not in (1, 2) or heavy:
        late.append((line, status, sorted(heavy)))
        break
print(late)
"""


def test_a_typo_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], input="\n".join(TYPOS), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr

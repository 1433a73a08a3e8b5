"""Run by tests/concepts/sources/test_hub.py in a process of its own: HF_ENDPOINT is read at import.

    python -m tests.support.hub_sources FOLDER

Puts datasets on the Hub that HF_ENDPOINT names, opens each as a source, and prints what came as JSON. FOLDER holds
`private.png`.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import CommitOperationAdd, HfApi
from PIL import Image

from conceptlib.concepts.images import decode
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.sources import HubSource, open_source
from conceptlib.errors import ConceptlibError

PAIR = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def table(rows: list[Any], captions: list[Any], kind: pa.DataType = PAIR) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array(rows, kind), "text": captions}), buffer)
    return buffer.getvalue()


def put(name: str, files: dict[str, bytes]) -> str:
    api = HfApi()
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    added = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in files.items()]
    api.create_commit(name, added, commit_message="data", repo_type="dataset")
    return name


def told(ref: str, **options: Any) -> Any:
    """What a source gives: key, split, caption, and the picture's colour or the reason why there is none."""
    try:
        source = open_source(ref, **options)
        assert isinstance(source, HubSource) and source.lock()["revision"] == source.revision
        rows = []
        for item in source.items():
            if isinstance(item.data, Reject):
                rows.append([item.key, item.split, item.caption, item.data.reason])
                continue
            colour = decode(item.load(64)).getpixel((2, 2))  # type: ignore[arg-type]
            rows.append([item.key, item.split, item.caption, colour])
        return rows
    except ConceptlibError as error:
        return str(error)


def main(folder: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    private = Path(folder) / "private.png"
    one = [{"bytes": picture("red"), "path": "red.png"}]
    named = [
        str(private),
        f"file://{private}",
        "../private.png",
        "http://127.0.0.1:9/x.png",
        "images/blue.png",
        "gone.png",
    ]
    files = {"data/train-00000-of-00001.parquet": table(one * 2, [["a", "b"], []]), "images/blue.png": picture("blue")}
    put("org/splits", {**files, "data/test-00000-of-00001.parquet": table(one, [["t"]])})
    put(
        "org/paths",
        {
            "train.parquet": table([{"bytes": None, "path": path} for path in named], ["x"] * len(named)),
            **{"images/blue.png": picture("blue")},
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: train.parquet\n---\n",
        },
    )
    put("org/folder", {"a.png": picture("green"), "metadata.jsonl": b'{"file_name": "a.png", "text": "green"}\n'})
    away = "hf://datasets/org/splits/data/train-00000-of-00001.parquet"
    put("org/away", {"README.md": f'---\nconfigs:\n- config_name: default\n  data_files: "{away}"\n---\n'.encode()})
    odd = {
        f"data/{name}-00000-of-00001.parquet": table(one, [[name]])
        for name in ("train", "validation", "dev", "minival")
    }
    put("org/odd", odd)
    report = {
        "odd": told("org/odd", test_share=0.0),
        "splits": told("org/splits", test_share=0.0),
        "hashed": told("org/splits", splits="hash", test_share=0.0),
        "test": told("org/splits", split="test", test_share=0.0),
        "few": told("org/splits", rows=2, test_share=0.5),
        "paths": told("org/paths", test_share=0.0),
        "folder": told("org/folder", test_share=0.0),
        "away": told("org/away"),
        "column": told("org/splits", image_column="picture"),
        "split": told("org/splits", split="nope"),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

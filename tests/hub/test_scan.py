"""What is about to be published is searched for secrets, wherever text can be."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptlib.concepts.tables import ImageTable, image_row, shard_name
from conceptlib.errors import ConceptlibError
from conceptlib.hub import scan
from conceptlib.hub.plan import PlannedFile
from conceptlib.hub.publish import publish
from conceptlib.redaction import environment_secrets
from conceptlib.store import Store
from tests.hub.conftest import TOKEN, picture
from tests.support.loophub import LoopHub

SECRET = "correct-horse-42-battery"  # of no known shape
SHAPED = {
    "Hugging Face": TOKEN,
    "GitHub": "ghp_" + "a1" * 18,
    "GitLab": "glpat-" + "x" * 20,
    "OpenAI": "sk-" + "Ab1" * 8,
    "AWS": "AKIA" + "ABCDEFGH12345678",
    "Google": "AIza" + "b" * 35,
    "Slack": "xoxb-1234567890-abc",
    "JWT": ".".join(["eyJhbGciOiJIUzI1", "eyJzdWIiOiIxMjM0", "SflKxwRJSMeKKF"]),
    "key": "-----BEGIN RSA PRIVATE KEY-----",
    "address": "ftp://me:secret@example.org/x",
    "environment": "LANG=C AWS_SECRET_ACCESS_KEY=abcdefgh/ijkl HOME=/root",
}
ROWS = 5


def table(column: Any, metadata: dict[str, str] | None = None, name: str = "caption") -> PlannedFile:
    made = pa.table({name: column, "n": list(range(len(column)))})
    sink = pa.BufferOutputStream()
    pq.write_table(made.replace_schema_metadata(metadata), sink, row_group_size=2)
    return PlannedFile.from_bytes("data/train.parquet", sink.getvalue().to_pybytes())


def rows(value: Any, other: Any) -> list[Any]:
    return [other] * (ROWS - 1) + [value]


PLACES: dict[str, Callable[[str], PlannedFile]] = {
    "a text column": lambda text: table(rows(f"a star {text}!", "a star")),
    "beside nothing": lambda text: table([None, text]),
    "a list": lambda text: table(rows(["a", text], ["a"])),
    "a struct": lambda text: table(rows({"bytes": b"x", "path": text}, {"bytes": b"x", "path": "a.png"})),
    "a list of structs": lambda text: table(rows([{"word": text}], [])),
    "a map": lambda text: table(pa.array(rows([("a", text)], []), pa.map_(pa.string(), pa.string()))),
    "a dictionary": lambda text: table(pa.array(rows(text, "a")).dictionary_encode()),
    "a large string": lambda text: table(pa.array(rows(text, "a"), pa.large_string())),
    "a view": lambda text: table(pa.array(rows(text, "a"), pa.string_view())),
    "the notes of a table": lambda text: table(["a"], {"note": text}),
    "the name of a column": lambda text: table(["a"], name=text),
    "a text file": lambda text: PlannedFile.from_bytes("log.jsonl", f'{{"a": "{text}"}}'.encode()),
    "a file of any name": lambda text: PlannedFile.from_bytes("Makefile.bak", text.encode()),
    "a safetensors header": lambda text: PlannedFile.from_bytes(
        "x.safetensors",
        struct.pack("<Q", len(text) + 40) + json.dumps({"__metadata__": {"note": text}}).encode() + b" " * 40,
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_text_is_searched(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = PLACES[place]("nothing here")
    scan.refuse_secrets_in([clean], TOKEN)
    for text in (SECRET, TOKEN):
        with pytest.raises(ConceptlibError, match="nothing was sent") as caught:
            monkeypatch.setenv("MY_API_KEY", SECRET)
            scan.refuse_secrets_in([clean, PLACES[place](text)], TOKEN)
        assert caught.value.where.startswith(clean.path) and text not in str(caught.value)


@pytest.mark.parametrize("kind", SHAPED)
def test_known_shapes_are_found_in_tables_and_in_text(kind: str) -> None:
    for place in ("a text column", "a text file"):
        with pytest.raises(ConceptlibError, match="nothing was sent"):
            scan.refuse_secrets_in([PLACES[place](SHAPED[kind])])


def test_the_column_and_the_rows_are_named() -> None:
    with pytest.raises(ConceptlibError) as caught:
        scan.refuse_secrets_in([table(["a"] * 9000 + [TOKEN])])
    assert caught.value.where == "data/train.parquet, column caption, in the 809 rows from row 8192 on"


@pytest.mark.parametrize("before", [(4 << 20) - 9, 4 << 20, (4 << 20) + 1, (8 << 20) - 20])
def test_a_secret_at_the_end_of_a_chunk_is_found(before: int, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b" " * before + TOKEN.encode() + b" " * 99)
    with pytest.raises(ConceptlibError):
        scan.refuse_secrets_in([PlannedFile("long.txt", path.stat().st_size, "", source=path)])


def test_captions_are_no_secrets() -> None:
    texts = ["a task-sk-force", "token=1", "http://a.org/b@c", "hf_short", "the API_KEY=... of a door", "PASSWORD=${X}"]
    scan.refuse_secrets_in([table(texts), PlannedFile.from_bytes("README.md", "\n".join(texts).encode())])


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "hf_abcDEF123456", True),
        ("aws_secret_access_key", "abc/DEF+12345", True),
        ("DATABASE_PASSWORD", "p4ssw0rd", True),
        ("MY_APIKEY", "abcd-efgh", True),
        ("DATABASE_PASSWORD", "postgres", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("HF_TOKEN_PATH", "/root/.cache/token1", False),
        ("TOKEN_URL", "https://example.org/token1", False),
        ("EDITOR", "vim-9.1-something", False),
        ("GITHUB_TOKEN", "", False),
    ],
)
def test_which_variables_hold_secrets(name: str, value: str, secret: bool) -> None:
    assert environment_secrets({name: value}) == ([value] if secret else [])


def test_a_table_that_cannot_be_read_is_not_published() -> None:
    with pytest.raises(ConceptlibError, match="cannot be read"):
        scan.refuse_secrets_in([PlannedFile.from_bytes("a.parquet", b"PAR1 no table PAR1")])


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dataset_with_a_token_in_a_caption_is_not_published(
    hub: LoopHub, store: Store, tmp_path: Path, dry_run: bool
) -> None:
    lock = {
        "spec": {"name": "x", "concepts": [], "params": {"source": "/x"}},
        "source": {"kind": "folder"},
        "shards": 1,
    }
    with store.draft("dataset", "x", lock=lock) as draft:
        listed = [image_row(f"{i:03d}", picture(i), caption=f"HF_TOKEN={TOKEN}", seed=i) for i in range(2)]
        ImageTable.write(draft.path / "data" / shard_name("train", 0, 1), listed)
        draft.commit(info={"rows": 2})
    for target in ("org/name", tmp_path / "out"):
        with pytest.raises(ConceptlibError, match="nothing was sent") as caught:
            publish("x", target, store=store, dry_run=dry_run)
        assert "column text" in caught.value.where and TOKEN not in str(caught.value)
    assert hub.writes == [] and not (tmp_path / "out").exists()

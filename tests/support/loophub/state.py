"""What the loopback Hub remembers: repositories, their commits and files, and the faults it was told to produce."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote


class HubError(Exception):
    """An HTTP error answer; ``code`` is the Hub's ``X-Error-Code`` (``RepoNotFound``, ``GatedRepo``, ...)."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


def git_oid(data: bytes) -> str:
    """The id git gives to a blob of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git stores in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class File:
    """One file of a commit. A regular file has ``data``; a large one has ``sha256``, and its bytes lie in the blob
    folder.

    ``damaged`` holds the bytes that are served instead when the Hub was told to damage the file.
    """

    size: int
    oid: str
    data: bytes | None = None
    sha256: str | None = None
    xet_hash: str | None = None
    damaged: bytes | None = None

    @classmethod
    def regular(cls, data: bytes) -> File:
        return cls(size=len(data), oid=git_oid(data), data=data)

    @classmethod
    def large(cls, sha256: str, size: int, xet_hash: str | None) -> File:
        return cls(size=size, oid=git_oid(lfs_pointer(sha256, size)), sha256=sha256, xet_hash=xet_hash)

    def entry(self, path: str) -> dict[str, object]:
        """The file as ``tree`` and ``paths-info`` list it."""
        entry: dict[str, object] = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.sha256:
            pointer_size = len(lfs_pointer(self.sha256, self.size))
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": pointer_size}
        if self.xet_hash:
            entry["xetHash"] = self.xet_hash
        return entry


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    tree: dict[str, File]
    title: str
    date: str


class Repo:
    """A repository: its commits, its branches and its tags."""

    def __init__(self, repo_id: str, repo_type: str, private: bool) -> None:
        self.id, self.type, self.private, self.gated = repo_id, repo_type, private, False
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        attributes = File.regular(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        self.commit("main", {".gitattributes": attributes}, "initial commit")

    def commit(self, branch: str, tree: dict[str, File], title: str) -> Commit:
        parent = self.branches.get(branch)
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        body = json.dumps([parent, {path: file.oid for path, file in sorted(tree.items())}, title, len(self.commits)])
        commit = Commit(hashlib.sha1(body.encode()).hexdigest(), parent, tree, title, date)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a commit id names."""
        name = unquote(revision)
        oid = self.branches.get(name.removeprefix("refs/heads/")) or self.tags.get(name.removeprefix("refs/tags/"))
        if oid is None and name not in self.commits:
            raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return self.commits[oid or name]

    def history(self, branch: str = "main") -> list[Commit]:
        """Newest first."""
        commits, oid = [], self.branches.get(branch)
        while oid:
            commits.append(self.commits[oid])
            oid = commits[-1].parent
        return commits

    @property
    def files(self) -> dict[str, File]:
        """The files of ``main``."""
        return self.resolve("main").tree

    def put(self, path: str, data: bytes) -> Commit:
        """Commit one regular file, as a person does on the web page."""
        return self.commit("main", {**self.files, path: File.regular(data)}, f"Update {path}")


@dataclass
class Fault:
    """The next ``times`` requests that match, after ``skip`` of them went through, are answered with ``status``."""

    method: str
    path: str
    status: int
    times: int
    skip: int
    message: str
    code: str | None
    headers: dict[str, str] = field(default_factory=dict)

    def hits(self, method: str, path: str) -> bool:
        if self.times <= 0 or self.method not in ("*", method) or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Faults:
    pending: list[Fault] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def check(self, method: str, path: str) -> None:
        for fault in self.pending:
            if fault.hits(method, path):
                raise HubError(fault.status, fault.message, fault.code, fault.headers)

    def store(self, path: str, file: File, data: bytes) -> File:
        """The file as it is kept: with its first byte wrong if its path is among the damaged ones.

        A regular file gets the object id of the wrong bytes. The listing of a large one stays right, as it does on a
        server whose storage is broken: only reading it back shows the damage.
        """
        if not any(re.search(pattern, path) for pattern in self.damaged):
            return file
        wrong = bytes([data[0] ^ 0xFF]) + data[1:]
        return replace(file, damaged=wrong, xet_hash=None) if file.sha256 else File.regular(wrong)

"""Routes about the files of a repository: listing them, committing, uploading large ones, reading them back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from tests.support.loophub.repos import API
from tests.support.loophub.server import Request, Response, route
from tests.support.loophub.state import File, HubError

LARGE_SUFFIXES = {".safetensors", ".parquet", ".png", ".jpg", ".bin", ".onnx", ".pt"}
REPO = r"/(?:(datasets)/)?([^/]+/[^/]+)"


@route("GET", API + r"/tree/([^/]+)(?:/(.*))?")
def tree(request: Request, repo_type: str, repo_id: str, revision: str, folder: str | None) -> Response:
    files = request.repo(repo_type, repo_id).resolve(revision).tree
    prefix = f"{unquote(folder)}/" if folder else ""
    recursive = request.query.get("recursive", "").lower() in ("true", "1")
    entries: list[dict[str, Any]] = []
    folders: set[str] = set()
    for path, file in files.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        depth = len(parts) if recursive else min(len(parts), 2)
        folders |= {prefix + "/".join(parts[:level]) for level in range(1, depth)}
        if recursive or len(parts) == 1:
            entries.append(file.entry(path))
    if folder and not entries and not folders:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound")
    for name in folders:
        entries.append({"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()})
    entries.sort(key=lambda entry: entry["path"])
    return _page(request, entries)


def _page(request: Request, entries: list[dict[str, Any]]) -> Response:
    """The Hub lists a thousand entries at a time and links to the next page."""
    limit, start = int(request.query.get("limit", 1000)), int(request.query.get("cursor", 0))
    headers = {}
    if start + limit < len(entries):
        query = urlencode({**request.query, "cursor": start + limit})
        headers["Link"] = f'<{request.hub.url}{request.path}?{query}>; rel="next"'
    return Response(entries[start : start + limit], headers=headers)


@route("POST", API + r"/paths-info/(.+)")
def paths_info(request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
    files = request.repo(repo_type, repo_id).resolve(revision).tree
    is_json = "json" in request.headers.get("Content-Type", "")
    paths = (request.json if is_json else parse_qs(request.body.decode())).get("paths", [])
    entries = []
    for path in (path.rstrip("/") for path in paths):
        if path in files:
            entries.append(files[path].entry(path))
        elif any(name.startswith(f"{path}/") for name in files):
            entries.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
    return Response(entries)


@route("POST", API + r"/preupload/(.+)")
def preupload(request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
    """Which files go through the large-file road, and what the repository has at their paths."""
    commit = request.repo(repo_type, repo_id, write=True).resolve(revision)
    answer = []
    for wanted in request.json["files"]:
        path, size, sample = wanted["path"], wanted["size"], base64.b64decode(wanted.get("sample", ""))
        large = size >= 10 << 20 or PurePosixPath(path).suffix in LARGE_SUFFIXES or b"\0" in sample
        entry = {"path": path, "uploadMode": "lfs" if large and size else "regular", "shouldIgnore": False}
        if existing := commit.tree.get(path):
            entry["oid"] = existing.sha256 or existing.oid
        answer.append(entry)
    return Response({"files": answer, "commitOid": commit.oid})


@route("POST", API + r"/commit/(.+)")
def commit(request: Request, repo_type: str, repo_id: str, branch: str) -> Response:
    repo, branch = request.repo(repo_type, repo_id, write=True), unquote(branch)
    with request.hub.lock:
        head, header = repo.resolve(branch), {}
        files = dict(head.tree)
        for line in filter(None, request.body.splitlines()):
            operation = json.loads(line)
            if operation["key"] == "header":
                header = operation["value"]
            else:
                _apply(request, files, operation["key"], operation["value"])
        if header.get("parentCommit") not in (None, head.oid):
            raise HubError(412, "The branch was updated since you opened this page. Please refresh and try again.")
        if not header.get("summary"):
            raise HubError(400, "summary is required")
        new = repo.commit(branch, files, header["summary"])
    url = f"{request.hub.url}/{'' if repo.type == 'model' else repo.type + 's/'}{repo.id}/commit/{new.oid}"
    return Response({"success": True, "commitOid": new.oid, "commitUrl": url, "hookOutput": ""})


def _apply(request: Request, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """Carry out one line of a commit on ``files``."""
    hub, path = request.hub, value["path"]
    if path.startswith("/") or {"..", ".", ".git"} & set(re.split(r"[/\\]", path)):
        raise HubError(422, f"Invalid path: {path}")
    if key == "file":
        data = base64.b64decode(value["content"])
        files[path] = hub.faults.store(path, File.regular(data), data)
    elif key == "lfsFile":
        large = hub.blobs.large_file(value["oid"], value.get("size"), hub.xet)
        # Only a file that is to be damaged has to be read here: putting a Xet upload together takes a while.
        damaged = any(re.search(pattern, path) for pattern in hub.faults.damaged)
        files[path] = hub.faults.store(path, large, _read_large(request, large)) if damaged else large
    elif key == "deletedFile":
        if path not in files:
            raise HubError(400, f"A file with the name {path} does not exist")
        del files[path]
    else:
        raise HubError(400, f"unknown operation {key}")


def _read_large(request: Request, file: File) -> bytes:
    refresh_url = f"{request.hub.url}/xet-read-token"
    return request.hub.blobs.read(file, refresh_url, request.headers.get("Authorization") or "")


@route("GET", API + r"/xet-(read|write)-token/(.+)")
def xet_token(request: Request, repo_type: str, repo_id: str, access: str, revision: str) -> Response:
    request.repo(repo_type, repo_id, write=access == "write")
    return _xet_token(request)


@route("GET", "/xet-read-token")
def own_xet_token(request: Request) -> Response:
    """For the Hub itself, when it puts a Xet upload together."""
    return _xet_token(request)


def _xet_token(request: Request) -> Response:
    if not request.hub.xet:
        raise HubError(404, "xet disabled")
    cas, expires = f"local://{request.hub.blobs.cas}", int(time.time()) + 3600
    headers = {"X-Xet-Cas-Url": cas, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": expires}
    return Response({"casUrl": cas, "exp": expires, "accessToken": "xet"}, headers=headers)


@route("POST", REPO + r"\.git/info/lfs/objects/batch")
def lfs_batch(request: Request, repo_type: str | None, repo_id: str) -> Response:
    request.repo(repo_type or "models", repo_id, write=True)
    objects = []
    for wanted in request.json["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
        if not request.hub.blobs.path(wanted["oid"]).exists():
            upload = {"href": f"{request.hub.url}/_lfs/{wanted['oid']}", "header": {}}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{request.hub.url}/_lfs_verify", "header": {}}}
        objects.append(answer)
    headers = {"Content-Type": "application/vnd.git-lfs+json"}
    return Response({"transfer": "basic", "objects": objects}, headers=headers)


@route("PUT", "/_lfs/([0-9a-f]{64})")
def lfs_put(request: Request, sha256: str) -> Response:
    request.hub.blobs.put(sha256, request.body)
    return Response(headers={"ETag": f'"{sha256}"'})


@route("POST", "/_lfs_verify")
def lfs_verify(request: Request) -> Response:
    stored = request.hub.blobs.path(request.json["oid"])
    if not stored.exists() or stored.stat().st_size != request.json["size"]:
        raise HubError(404, "not found")
    return Response({})


@route("GET HEAD", REPO + r"/resolve/([^/]+)/(.+)")
def resolve(request: Request, repo_type: str | None, repo_id: str, revision: str, path: str) -> Response:
    repo_type = repo_type or "models"
    commit = request.repo(repo_type, repo_id, read=True).resolve(revision)
    headers: dict[str, Any] = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    file = commit.tree.get(unquote(path))
    if file is None:
        headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return Response({"error": "Entry not found"}, 404, headers)
    headers["ETag"] = f'"{file.sha256 or file.oid}"'
    if file.sha256:
        headers |= {"X-Linked-Size": file.size, "X-Linked-Etag": f'"{file.sha256}"'}
    if file.xet_hash:
        refresh = f"{request.hub.url}/api/{repo_type}/{repo_id}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{refresh}>; rel="xet-auth"'}
    if request.method == "HEAD":
        return Response(headers=headers, length=file.size)
    data = file.damaged or file.data
    return _ranged(request, _read_large(request, file) if data is None else data, headers)


def _ranged(request: Request, data: bytes, headers: dict[str, Any]) -> Response:
    headers = {**headers, "Content-Type": "application/octet-stream"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if not wanted:
        return Response(raw=data, headers=headers)
    if wanted[1]:
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
    else:
        first, last = max(0, len(data) - int(wanted[2])), len(data) - 1
    if first >= len(data):
        return Response(status=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"}, raw=b"")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(status=206, headers=headers, raw=data[first : last + 1])

"""Routes about repositories as a whole: who asks, creating one, its settings, its branches and tags."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.support.loophub.server import Request, Response, route
from tests.support.loophub.state import HubError, Repo

API = r"/api/(models|datasets)/([^/]+/[^/]+)"


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Response:
    name = request.login()
    access = {"displayName": "t", "role": "write", "createdAt": "2026-01-01T00:00:00.000Z"}
    auth = {"type": "access_token", "accessToken": access}
    orgs = [{"type": "org", "name": org} for org in request.hub.organizations]
    return Response({"type": "user", "id": "u1", "name": name, "fullname": name, "orgs": orgs, "auth": auth})


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Request) -> Response:
    """The Hub checks the header of a README.md before it takes the commit."""
    header = re.match(r"\s*---[ \t]*\n(.*?)\n---", request.json["content"], re.S)
    if not header:
        return Response({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    errors = []
    try:
        data = yaml.safe_load(header[1])
        if not isinstance(data, dict):
            errors = ["metadata should be an object"]
        elif not isinstance(data.get("model-index", []), list):
            errors = ['"model-index" must be an array']
    except yaml.YAMLError as problem:
        errors = [str(problem)]
    answer = {"errors": [{"message": message} for message in errors], "warnings": []}
    return Response(answer, status=400 if errors else 200)


@route("POST", "/api/repos/create")
def create(request: Request) -> Response:
    name, body, hub = request.login(), request.json, request.hub
    owner, repo_type = body.get("organization") or name, body.get("type") or "model"
    repo_id = f"{owner}/{body['name']}"
    url = f"{hub.url}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"
    if owner not in (name, *hub.organizations):
        raise HubError(403, f"You don't have the rights to create a {repo_type} under the namespace {owner}")
    with hub.lock:
        if (repo_type, repo_id) in hub.repos:
            return Response({"error": "You already created this repo", "url": url}, status=409)
        private = body.get("visibility") == "private" or bool(body.get("private"))
        hub.repos[repo_type, repo_id] = Repo(repo_id, repo_type, private)
    return Response({"url": url, "name": repo_id, "id": repo_id})


@route("PUT", API + "/settings")
def settings(request: Request, repo_type: str, repo_id: str) -> Response:
    repo, body = request.repo(repo_type, repo_id, write=True), request.json
    if "visibility" in body:
        repo.private = body["visibility"] == "private"
    repo.gated = body.get("gated", repo.gated)
    return Response({"private": repo.private, "gated": repo.gated})


@route("GET", API + r"(?:/revision/(.+))?")
def info(request: Request, repo_type: str, repo_id: str, revision: str | None) -> Response:
    repo = request.repo(repo_type, repo_id)
    commit = repo.resolve(revision or "main")
    answer: dict[str, Any] = {"_id": "0" * 24, "id": repo.id, "author": repo.id.split("/")[0], "sha": commit.oid}
    answer |= {"private": repo.private, "gated": repo.gated, "disabled": False, "lastModified": commit.date}
    answer |= {
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
    }
    if repo.type == "model":
        answer["modelId"] = repo.id
    return Response(answer)


@route("GET", API + "/refs")
def refs(request: Request, repo_type: str, repo_id: str) -> Response:
    repo = request.repo(repo_type, repo_id)

    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in names.items()]

    answer = {"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []}
    return Response(answer | {"pullRequests": []})


@route("GET", API + r"/commits/(.+)")
def commits(request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
    repo = request.repo(repo_type, repo_id)
    history = repo.history(revision)
    rows = [{"id": c.oid, "title": c.title, "message": "", "date": c.date, "authors": []} for c in history]
    return Response(rows)


@route("POST", API + r"/tag/(.+)")
def create_tag(request: Request, repo_type: str, repo_id: str, revision: str) -> Response:
    repo, tag = request.repo(repo_type, repo_id, write=True), request.json["tag"]
    commit = repo.resolve(revision)
    if re.search(r"[\s~^:?*\[\\]|\.\.|^/|/$|^-", tag):
        raise HubError(400, f"Invalid reference name: {tag}")
    with request.hub.lock:
        if tag in repo.tags:
            raise HubError(409, f"Reference refs/tags/{tag} already exists")
        repo.tags[tag] = commit.oid
    return Response({})

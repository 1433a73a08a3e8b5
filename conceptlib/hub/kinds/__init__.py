"""What of an artifact is published: one file a kind, found on disk.

A module holds `REPO_TYPE` ("dataset" or "model") and `contents(artifact, store, card: CardOptions) -> Contents`.
"""

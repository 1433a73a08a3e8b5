"""What of an artifact is published: one file a kind, named by `conceptlib.store.kinds` (`Kind.publisher`).

A module holds `REPO_TYPE` ("dataset" or "model") and `contents(artifact, store, card: CardOptions) -> Contents`.
"""

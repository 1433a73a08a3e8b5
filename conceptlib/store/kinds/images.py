"""Images that a model has generated."""

from __future__ import annotations

from conceptlib.store.kinds import Kind

KIND = Kind("images", order=20, precedence=50, made_by="conceptlib generate CHECKPOINT")

"""One file a source of prompts, found by its name: see `conceptlib.evaluators.base` for what it holds."""

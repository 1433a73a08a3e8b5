"""One file a judge, found by its name: see `conceptlib.evaluators.base` for what it holds."""

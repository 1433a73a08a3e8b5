"""One file a metric, found by its name: see `conceptlib.evaluators.base` for what it holds."""

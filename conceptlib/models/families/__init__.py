"""One module a model family, found by its file name: a class `Family`, a `conceptlib.models.family.Model`."""

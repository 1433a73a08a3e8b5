"""What a checkpoint holds and how it is laid on a base: one file a form, found on disk.

A module has

* `WHOLE`: whether the folder is a model by itself, which takes no base;
* `save(folder, pipe, result, record)`: write the files;
* `apply(folder, record, pipe)`: change `pipe` in place, and raise unless every tensor of the files found its place.
"""

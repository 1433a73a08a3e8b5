"""Formats: one file a format of other people's tools. Adding a file here is enough.

A format is a module with some of these; with `write` goes

* `ANNOTATIONS`: "optional" (boxes are written where there are some), "needed" (there must be some: by default the exact
  geometry, `truth`) or "named" (the user says which set);
* `write(job, folder) -> list[str]`: the files of an export, and what the user should know about them;
* `read(source, report) -> Iterator[Entry]`, if it can be imported: what the annotations say, picture by picture. What
  is wrong goes to the report as a reject with its place, and nothing else is raised but that there are no files.

`export_dataset` brings folders that appear at once, rows joined with their boxes, names and category ids;
`import_annotations` the matching with a dataset's rows, the checks and the artifact.
"""

from __future__ import annotations

from conceptlib.formats._export import Exported, export_dataset
from conceptlib.formats._import import import_annotations
from conceptlib.specs.registry import FORMATS

__all__ = ["FORMATS", "Exported", "export_dataset", "import_annotations"]

"""Plug-ins from outside: code of the user's own beside ours, found by the registry that it belongs to.

    $CONCEPTLIB_HOME/plugins/REGISTRY/NAME.py        a file, or a folder NAME/ with an __init__.py
    [project.entry-points."conceptlib.REGISTRY"]     in an installed package: NAME = "its.module"

A file runs only after the user has said so: `conceptlib plugins allow REGISTRY/NAME` (which remembers the file's
sha256, outside the home: a home may come from somebody else), or `CONCEPTLIB_PLUGINS=1`. A package counts as allowed
by being installed. `CONCEPTLIB_PLUGINS=0` turns all of them off. Nothing is imported before it is asked for by name.

A file is read once a process: what is hashed is what runs. It becomes the module `conceptlib.plugins.REGISTRY.NAME`,
so that its objects can be pickled; worker processes and other machines get the very same source (`sources`,
`receive`). docs/plugins.md has an example of each kind.
"""

from __future__ import annotations

from conceptlib.plugins._allowed import allow, forbid, settings_file
from conceptlib.plugins._found import Plugin, folder, listed, names
from conceptlib.plugins._modules import Source, culprit, fault, find, identity, load, receive, sha256, sources, state

__all__ = [
    "Plugin",
    "Source",
    "allow",
    "culprit",
    "fault",
    "find",
    "folder",
    "forbid",
    "identity",
    "listed",
    "load",
    "names",
    "receive",
    "settings_file",
    "sha256",
    "sources",
    "state",
]

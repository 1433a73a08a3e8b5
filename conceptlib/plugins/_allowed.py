"""What the user lets run. The list lies in the user's own settings, not in the home: a home that somebody else hands
over must not bring its permission along.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.plugins._found import Plugin, digest

SWITCH = "CONCEPTLIB_PLUGINS"
FOLDER = "CONCEPTLIB_CONFIG"
_ON, _OFF = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def settings_file() -> Path:
    """Where the list is: `plugins.json` in `$CONCEPTLIB_CONFIG`, by default the platform's folder for settings."""
    if chosen := os.environ.get(FOLDER, "").strip():
        return Path(chosen).expanduser().absolute() / "plugins.json"
    import platformdirs

    return Path(platformdirs.user_config_dir("conceptlib", appauthor=False)).absolute() / "plugins.json"


def switch() -> bool | None:
    """What `CONCEPTLIB_PLUGINS` says: all of them, none, or (None) those on the list.

    Raises:
        ConceptlibError: it is neither.
    """
    said = os.environ.get(SWITCH, "").strip().lower()
    if said and said not in _ON | _OFF:
        raise ConceptlibError(
            f"{SWITCH} is {said!r}", where="environment", hint="1: every plug-in may run; 0: none; unset: those allowed"
        )
    return said in _ON if said else None


def state(plugin: Plugin, sha256: str) -> str:
    """`allowed`, `off`, `not allowed`, or `changed` (since it was allowed), for files of this sha256."""
    if (said := switch()) is False:
        return "off"
    if said or plugin.path is None:
        return "allowed"
    known = _read().get(str(plugin.path.absolute()))
    return "allowed" if known == sha256 else "changed" if known else "not allowed"


def check(plugin: Plugin, sha256: str) -> None:
    """Raises ConceptlibError unless the plug-in may run."""
    allow_it = f"read it, then `conceptlib plugins allow {plugin.ref}`"
    what, hint = {
        "allowed": ("", ""),
        "off": (f"plug-ins are turned off, and {plugin.ref} is one", f"unset {SWITCH}"),
        "not allowed": (f"{plugin.ref} is a plug-in that you have not allowed to run", allow_it),
        "changed": (f"the plug-in {plugin.ref} has changed since you allowed it", allow_it),
    }[state(plugin, sha256)]
    if what:
        raise ConceptlibError(what, where=plugin.place, hint=hint)


def allow(plugin: Plugin) -> str:
    """Let a file run, as it is now, and forget files that are gone. Returns its sha256.

    Raises:
        ConceptlibError: it is not a file (a package is allowed by being installed); it, or the list, cannot be read.
    """
    if plugin.path is None:
        raise ConceptlibError(f"{plugin.ref} is of an installed package, which needs no permission", where=plugin.place)
    sha256 = digest(plugin.files())
    known = {path: value for path, value in _read().items() if Path(path).exists()}
    _write(known | {str(plugin.path.absolute()): sha256})
    return sha256


def forbid(plugin: Plugin) -> bool:
    """Take the permission back. Returns whether there was one."""
    known = _read()
    if plugin.path is None or str(plugin.path.absolute()) not in known:
        return False
    _write({path: value for path, value in known.items() if path != str(plugin.path.absolute())})
    return True


def _read() -> dict[str, str]:
    path = settings_file()
    try:
        allowed = json.loads(path.read_text(encoding="utf-8"))["allowed"]
        return {str(name): str(value) for name, value in allowed.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConceptlibError(
            "the list of allowed plug-ins cannot be read",
            where=path,
            hint="remove it, and allow your plug-ins again (`conceptlib plugins ls`)",
        ) from error


def _write(allowed: dict[str, str]) -> None:
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"allowed": allowed}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)

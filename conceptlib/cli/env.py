"""`conceptlib env`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("env", short_help="Show versions, device and folders, for a bug report.")
@output.options
def cli(out: Output) -> None:
    """Show the versions of what conceptlib uses, the device it would choose, and its folders.

    \b
    conceptlib env --json
    """
    from importlib import metadata

    from conceptlib import __version__, paths
    from conceptlib.models.devices import choose

    found: dict[str, object] = {"conceptlib": __version__, "home": paths.home(), "specs": paths.builtin()}
    placement = choose()
    found |= {"device": placement.device, "dtype": placement.dtype_name}
    for package in ("torch", "diffusers", "transformers", "datasets", "huggingface_hub", "duckdb", "ultralytics"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    out.fields(found)

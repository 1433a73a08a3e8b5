"""`conceptlib datasets`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("datasets")
def cli() -> None:
    """List, show, copy and check the specs of datasets."""


add_spec_commands(cli, ("dataset",), noun="dataset", example="icd-qr")

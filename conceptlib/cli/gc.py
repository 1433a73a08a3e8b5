"""`conceptlib gc`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli._types import FiniteRange
from conceptlib.cli.output import Output

_MOST = 36500.0


@click.command("gc", short_help="Remove what interrupted work left behind.")
@click.option(
    "--days",
    type=FiniteRange(0, 36_500),
    default=7,
    show_default=True,
    help="Keep what was touched within so many days.",
)
@output.dry_run_option
@output.options
def cli(out: Output, days: float, dry_run: bool) -> None:
    """Remove unfinished work that nobody has touched for some days. Artifacts are never removed.

    \b
    conceptlib gc --dry-run
    conceptlib gc --days 0
    """
    from datetime import timedelta

    from conceptlib.store import Store

    if not days <= _MOST:  # NaN is in no range
        raise click.UsageError(f"--days {days} is no number of days")

    report = Store().gc(older_than=timedelta(days=days), dry_run=dry_run)
    out.table(report.removed, ["what", "path", "size"], quiet="path", empty="there is nothing to remove")
    if report.removed:
        out.note(f"{'would free' if dry_run else 'freed'} {report.freed / 1e6:.1f} MB")

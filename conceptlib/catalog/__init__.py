"""The catalog: every artifact, its lineage and its scores, in one DuckDB file that can be queried with SQL.

    from conceptlib import catalog

    catalog.ls(kind="checkpoint")
    catalog.show("geom-erasing/qr").lineage
    catalog.query("SELECT metric, value FROM scores WHERE subject = 'checkpoint'").dicts()

The truth is the manifests: every call first looks whether any came, went or changed, and brings the index up to date.
Deleting ``catalog.duckdb`` loses nothing.
"""

from conceptlib.catalog.index import IndexReport, refresh, reindex
from conceptlib.catalog.leaderboard import leaderboard
from conceptlib.catalog.queries import Entry, Overview, Relative, Shown, Table, ls, overview, query, show

__all__ = [
    "Entry",
    "IndexReport",
    "Overview",
    "Relative",
    "Shown",
    "Table",
    "leaderboard",
    "ls",
    "overview",
    "query",
    "refresh",
    "reindex",
    "show",
]

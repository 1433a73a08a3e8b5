"""DuckDB for questions from the user: it sees what it is given, and nothing else."""

from __future__ import annotations

SEALED: dict[str, str] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
"""Settings of a connection for SQL from the user: no files, no extensions, no variables of this process."""

NO_BAR = "SET enable_progress_bar = false"
"""After two seconds DuckDB draws a bar on stdout, where it takes the process for an interactive one."""

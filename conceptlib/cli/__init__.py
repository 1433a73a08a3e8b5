"""The command line: one file a verb. A file here is a command, named after it; see `main.py`."""

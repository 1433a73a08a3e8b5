"""Pictures and tables that people read: before/after grids, Markdown and plain-text tables."""

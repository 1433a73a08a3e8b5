"""Datasets of prompts, without pictures: I2P, whose columns these are, and subsets of it.

| file | what it knows |
|---|---|
| `columns` | the 14 columns, their types and spellings, the categories, the published counts |
| `files` | CSV and Parquet files and Hub datasets, read row by row |
| `rules` | what a row may hold, and the report of what breaks a rule |
| `table` | the artifact: writing, reading, counting, SQL |
| `subset` | `i2p@CONDITION` |
| `redact` | how a prompt is shown |
"""

"""Checkpoints that other people made: read safely, matched tensor by tensor with a base, and kept as our own.

`importer` is the way in, `fetch` knows where files are, `reading` opens them (never unpickling more than tensors), and
`formats` has a file a family of names, found on disk.
"""

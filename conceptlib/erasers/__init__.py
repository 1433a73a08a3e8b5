"""Erasing a concept from a model: the methods, the training loop that they share, and the checkpoints that they leave.

A method is one file in `methods/`, found on disk; `base` says what it supplies. Importing this package imports no
torch.
"""

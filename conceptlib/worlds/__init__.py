"""Worlds that come with conceptlib: what draws pictures and says their captions, who judges them, and the models of it.

A world is a sub-package. Its words are known to itself alone.
"""

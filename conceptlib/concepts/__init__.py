"""Concepts in pictures: the embedded world, overlays, sources of pictures, and building datasets from them."""

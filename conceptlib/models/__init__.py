"""Text-to-image models: choosing a device, loading, encoding, sampling and the embedded model.

What a model's components, layers and inputs are called is known here alone: a file a family in `families`, behind the
one interface of `family`. Importing this package imports no torch; its modules do.
"""

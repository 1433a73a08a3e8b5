"""Publishing artifacts to the Hugging Face Hub or to a folder; `conceptlib.hub.publish` is the entrance.

`target` says where to, `kinds/` (one file a kind of artifact) and `cards` say what, `plan` holds both, `remote` and
`local` send it.
"""

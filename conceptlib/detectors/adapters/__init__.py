"""One file a vendor. See `conceptlib.detectors.base` for what a file must provide."""

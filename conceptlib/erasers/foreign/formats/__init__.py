"""One file a family of tensor names, found on disk. See `conceptlib.erasers.foreign.base`."""

"""One file a method, found on disk: adding a file (and a recipe that names it) is enough. See
`conceptlib.erasers.base`.
"""

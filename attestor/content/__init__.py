"""Where artifact bytes come from (upload spool, pull roots) and what they are (libarchive, in a confined child).

The rule of the room: bytes are hashed once, and what is inspected are the very bytes that were hashed. Nothing here
decides whether they may be signed; :mod:`attestor.core.contents` does.
"""

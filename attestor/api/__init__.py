"""HTTP, served: which URL is which use case, and nothing of what the use cases decide.

The room's rule: :mod:`attestor.api.routes` is the whole surface on one screen, :mod:`attestor.api.problems` every failure on
another; routes, authorisation and OpenAPI are made from them. Bodies are limited before they are read, and who a client is
comes from the TLS handshake alone. Only this room and ``client`` know aiohttp.
"""

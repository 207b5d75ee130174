"""Our own API from outside, for the command line: the same types, the same errors, and patience.

The room's rule: nothing here knows how the service works, only what :mod:`attestor.core.wire` says; answers are bounded
before they are read, redirects and proxies of the environment are not followed.
"""

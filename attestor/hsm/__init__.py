"""The NetHSM; the only room that knows the ``nethsm`` SDK.

Every call runs in a thread of its own slot, on a connection whose certificate was checked before a passphrase went out, and
fails only with an error of :mod:`attestor.core.errors` that no exception of the SDK hangs on: those carry passphrases.
Certificates are bytes here; what they say is told by callables that the caller brings.
"""

"""The agents that others run: keys, hashes, builds in clean folders, and one POST.

The room's rule: it imports ``attestor.core`` only, and shares nothing but the wire format with the service. Whoever runs it
is independent of the service, and needs no account beyond a key in its policy. README.md holds the backend's contract.
"""

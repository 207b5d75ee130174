"""A NetHSM made of software, for demos, tests and a first look: a program of its own.

It imports nothing of attestor and is started as a process (``python -m attestor.emulator``), so that attestor meets it as
it meets the device: over TLS, through the vendor's SDK. It protects nothing: see README.md.
"""

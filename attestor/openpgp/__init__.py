"""OpenPGP v4 certificates and detached signatures of release keys; the only room that knows pgpy.

PGPy writes packets and reads key material. Whatever it reads is believed only where writing the same values gives the same
bytes again, because its parser forgives lengths and bits that others do not. Signatures are verified by `cryptography`
from a digest: files have 60 GB, and PGPy wants them whole. No key of ours is ever in memory here; the HSM signs.
"""

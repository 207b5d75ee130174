"""Backends for the demo: programs of their own that keep the contract of README.md and import nothing of ours.

Each is deterministic: the same source and SOURCE_DATE_EPOCH give the same bytes in any folder.
"""

"""The command line, one file per audience: parse, call, print.

The room's rule: a verb imports what it needs when it runs, so that help and client verbs start fast; only serve, demo,
migrate, check, hsm, log and verify know app and edges. Exit codes: 0 yes, 1 error, 2 pending, 3 disputed or refused, 4 halted.
"""

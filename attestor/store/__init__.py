"""PostgreSQL, and nothing else knows SQL: named queries in ``*.sql`` with one line of purpose each, one file per port.

READ COMMITTED throughout: every transaction on releases locks their rows first, in the order of their ids, so what it
then reads is as of the lock. Nothing slow happens inside a transaction; lock, statement and idleness have timeouts.
"""

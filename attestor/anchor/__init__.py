"""What who follows the log keeps on its own disk, believed over any database: a signer's anchor and memory, an auditor's book.

The anchor is one small file that only moves forward; the memory beside it is SQLite, derived from the log, and made anew
whenever it does not fit. The book says how far an audit has come and what it found. Nothing else knows of these, nor of SQLite.
"""

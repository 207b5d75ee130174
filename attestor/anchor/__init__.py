"""What a signer keeps on its own disk, believed over any database: the anchor, and the memory that it folds from the log.

The anchor is one small file that only moves forward; the memory beside it is SQLite, derived from the log, and made anew
whenever it does not fit. Nothing else knows of either, nor of SQLite.
"""

-- What an auditor has seen of one log: the checkpoint seen last, how many entries were judged, where it looks again.
CREATE TABLE audit (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    origin TEXT NOT NULL,
    note BLOB,
    judged INTEGER NOT NULL,
    again INTEGER NOT NULL
) STRICT;

-- Entries that later ones are held against.
CREATE TABLE entries (entry INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT;

CREATE TABLE subjects (
    subject TEXT NOT NULL,
    entry INTEGER NOT NULL REFERENCES entries,
    PRIMARY KEY (subject, entry)
) STRICT, WITHOUT ROWID;

-- What was found and nobody acknowledged. Entry -1 is the log itself.
CREATE TABLE findings (
    entry INTEGER NOT NULL,
    code TEXT NOT NULL,
    sentence TEXT NOT NULL,
    notice INTEGER NOT NULL,
    PRIMARY KEY (entry, code)
) STRICT, WITHOUT ROWID;

-- Uses of release keys: counted before each call, and as the device said last.
CREATE TABLE IF NOT EXISTS keys (
    place TEXT PRIMARY KEY,
    counted INTEGER NOT NULL CHECK (counted >= 0),
    operations INTEGER,
    counted_then INTEGER NOT NULL DEFAULT 0,
    read_at TEXT,
    stopped INTEGER NOT NULL DEFAULT 0 CHECK (stopped IN (0, 1))
) STRICT, WITHOUT ROWID;

-- Who took the device's number for the count, and what it was before.
CREATE TABLE IF NOT EXISTS acknowledged (
    number INTEGER PRIMARY KEY,
    place TEXT NOT NULL,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    counted INTEGER NOT NULL,
    operations INTEGER NOT NULL
) STRICT;

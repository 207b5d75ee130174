-- What a signer folded from the log. All of it can be made again from the entries.
CREATE TABLE folded (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    anchor TEXT NOT NULL,
    size INTEGER NOT NULL,
    frontier BLOB NOT NULL,
    forged INTEGER NOT NULL
) STRICT;

-- 256 leaf hashes a row, the last row fewer.
CREATE TABLE tiles (number INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;

-- Names stand once, under numbers that grow: a million votes then cost no more than their digests, and are written in order.
CREATE TABLE releases (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE operators (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE received (
    release INTEGER NOT NULL REFERENCES releases,
    operator INTEGER NOT NULL REFERENCES operators,
    payload BLOB NOT NULL,
    envelope BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (release, operator, payload)
) STRICT, WITHOUT ROWID;

CREATE TABLE withdrawn (
    release INTEGER NOT NULL REFERENCES releases,
    operator INTEGER NOT NULL REFERENCES operators,
    payload BLOB NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (release, operator, payload, envelope)
) STRICT, WITHOUT ROWID;

-- The latest one of each release.
CREATE TABLE decided (
    release INTEGER PRIMARY KEY REFERENCES releases,
    entry INTEGER NOT NULL,
    raw BLOB NOT NULL
) STRICT;

-- The first one of each release, key and digest.
CREATE TABLE signed (
    release INTEGER NOT NULL REFERENCES releases,
    key TEXT NOT NULL,
    entry INTEGER NOT NULL,
    request TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    signature BLOB NOT NULL,
    decision INTEGER NOT NULL,
    PRIMARY KEY (release, key, sha256)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (serial INTEGER PRIMARY KEY, digest TEXT NOT NULL, entry INTEGER NOT NULL) STRICT;

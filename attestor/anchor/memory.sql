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

-- Each decision to sign, under the tier's and key's names, for quotas. The moment (UTC seconds) never goes back within a tier and key.
CREATE TABLE used (
    tier TEXT NOT NULL,
    key TEXT NOT NULL,
    moment INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    release INTEGER NOT NULL REFERENCES releases,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (tier, key, moment, entry)
) STRICT, WITHOUT ROWID;

-- Decisions on a version newer than all before it of its line and architecture: the last one before an entry is the newest there.
CREATE TABLE newest (
    line TEXT NOT NULL,
    arch TEXT NOT NULL,
    entry INTEGER NOT NULL,
    version TEXT NOT NULL,
    release INTEGER NOT NULL REFERENCES releases,
    PRIMARY KEY (line, arch, entry)
) STRICT, WITHOUT ROWID;

-- Approvals by the SHA-256 of what was signed, each once for a release and digest.
CREATE TABLE spent (
    approval BLOB NOT NULL,
    release INTEGER NOT NULL REFERENCES releases,
    sha256 BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (approval, release, sha256)
) STRICT, WITHOUT ROWID;

CREATE TABLE revoked (approval BLOB PRIMARY KEY, entry INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Digests of a release that were decided on by an approval to sign it anew.
CREATE TABLE resigned (
    release INTEGER NOT NULL REFERENCES releases,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (release, sha256)
) STRICT, WITHOUT ROWID;

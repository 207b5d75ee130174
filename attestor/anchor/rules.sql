-- What the rules of tiers ask about; whoever keeps it has a table of releases, by number and id.
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

-- What databases list, by the SHA-256 that their decisions name.
CREATE TABLE listed (
    line TEXT NOT NULL,
    arch TEXT NOT NULL,
    entry INTEGER NOT NULL,
    packages BLOB NOT NULL,
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

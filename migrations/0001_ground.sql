-- What operators stated is kept as it was signed; a release has one signed digest and one signature per key
-- depends:

-- migrate: apply

-- Invariants: a claim stands once per release, operator and payload; a release has one row that every transaction on it
-- locks first; a release has one digest that was ever signed, and one signature per key; only the signer's role signs.

CREATE TABLE releases (
    id         bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    kind       text NOT NULL CHECK (kind IN ('package', 'database', 'iso', 'vm')),
    purl       text NOT NULL,
    file_name  text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX releases_by_purl ON releases (purl);
CREATE INDEX releases_by_file_name ON releases (file_name);

CREATE TABLE envelopes (
    operator       text NOT NULL,
    payload_digest bytea NOT NULL CHECK (octet_length(payload_digest) = 32),
    body           bytea NOT NULL CHECK (octet_length(body) <= 262144),
    received_at    timestamptz NOT NULL CHECK (isfinite(received_at)),
    PRIMARY KEY (operator, payload_digest)
);

CREATE TABLE claims (
    release_id     bytea NOT NULL REFERENCES releases,
    operator       text NOT NULL,
    payload_digest bytea NOT NULL,
    form           text NOT NULL,
    keys           text[] NOT NULL CHECK (cardinality(keys) > 0),
    outcome        text NOT NULL CHECK (outcome IN ('built', 'failed')),
    sha256         bytea CHECK (octet_length(sha256) = 32),
    sha512         bytea CHECK (octet_length(sha512) = 64),
    size           bigint CHECK (size > 0),
    received_at    timestamptz NOT NULL CHECK (isfinite(received_at)),
    PRIMARY KEY (release_id, operator, payload_digest),
    FOREIGN KEY (operator, payload_digest) REFERENCES envelopes,
    CHECK ((outcome = 'built') = (sha256 IS NOT NULL))
);
CREATE INDEX claims_by_payload ON claims (operator, payload_digest);
CREATE INDEX claims_by_sha256 ON claims (sha256);

CREATE TABLE withdrawals (
    operator       text NOT NULL,
    payload_digest bytea NOT NULL,
    release_id     bytea NOT NULL REFERENCES releases,
    reason         text NOT NULL,
    body           bytea NOT NULL CHECK (octet_length(body) <= 262144),
    withdrawn_at   timestamptz NOT NULL,
    PRIMARY KEY (release_id, operator, payload_digest),
    FOREIGN KEY (release_id, operator, payload_digest) REFERENCES claims
);

-- The last evaluation of each release. It is shown only while its policy is in force and no key that it rests on has expired.
CREATE TABLE decisions (
    release_id    bytea PRIMARY KEY REFERENCES releases,
    state         text NOT NULL CHECK (state IN ('pending', 'reached', 'disputed')),
    tier          text NOT NULL,
    policy_digest text NOT NULL,
    holds_until   timestamptz NOT NULL,
    view          text NOT NULL,
    decided_at    timestamptz NOT NULL
);
CREATE INDEX decisions_by_state ON decisions (state, release_id);
CREATE INDEX decisions_by_tier ON decisions (tier, release_id);
CREATE INDEX decisions_by_policy ON decisions (policy_digest, release_id);
CREATE INDEX decisions_by_end ON decisions (holds_until);

CREATE TABLE events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    release_id bytea NOT NULL REFERENCES releases,
    request_id uuid,
    what       text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX events_by_release ON events (release_id, id);

CREATE TABLE signing_requests (
    id              uuid PRIMARY KEY,
    release_id      bytea NOT NULL REFERENCES releases,
    requester       text NOT NULL,
    tier            text NOT NULL,
    size            bigint NOT NULL CHECK (size > 0),
    sha256          bytea NOT NULL CHECK (octet_length(sha256) = 32),
    sha512          bytea NOT NULL CHECK (octet_length(sha512) = 64),
    content         text NOT NULL,
    content_present boolean NOT NULL,
    state           text NOT NULL CHECK (state IN ('waiting', 'queued', 'claimed', 'signed', 'refused', 'aside', 'withdrawn')),
    reason          text NOT NULL,
    sentence        text NOT NULL,
    tries           integer NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 1000000),
    fence           bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    not_before      timestamptz NOT NULL DEFAULT now(),
    signing_time    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'claimed') = (lease_until IS NOT NULL))
);
CREATE UNIQUE INDEX signing_requests_live ON signing_requests (release_id, sha256)
    WHERE state IN ('waiting', 'queued', 'claimed', 'aside', 'signed');
CREATE INDEX signing_requests_due ON signing_requests (created_at) WHERE state = 'queued';
CREATE INDEX signing_requests_leased ON signing_requests (lease_until) WHERE state = 'claimed';
CREATE INDEX signing_requests_waiting ON signing_requests (not_before) WHERE state = 'waiting';
CREATE INDEX signing_requests_by_release ON signing_requests (release_id);

CREATE TABLE signed_digests (
    release_id bytea PRIMARY KEY REFERENCES releases,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    UNIQUE (release_id, sha256)
);

CREATE TABLE signatures (
    release_id      bytea NOT NULL,
    key_fingerprint text NOT NULL,
    request_id      uuid NOT NULL REFERENCES signing_requests,
    sha256          bytea NOT NULL,
    signature       bytea NOT NULL CHECK (octet_length(signature) < 16384),
    stored_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (release_id, key_fingerprint),
    FOREIGN KEY (release_id, sha256) REFERENCES signed_digests (release_id, sha256)
);
CREATE INDEX signatures_by_request ON signatures (request_id);

-- The API can neither sign nor unsign: it cannot write signatures, nor move a request to claimed or signed (its policy below).
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'attestor_api') THEN CREATE ROLE attestor_api LOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'attestor_signer') THEN CREATE ROLE attestor_signer LOGIN; END IF;
END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO attestor_api, attestor_signer;
GRANT INSERT ON releases, envelopes, claims, withdrawals, events TO attestor_api;
-- Not the fence, nor the signing time: whoever sets that would backdate a signature.
GRANT INSERT (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state, reason, sentence,
              created_at, updated_at) ON signing_requests TO attestor_api;
GRANT UPDATE (first_seen) ON releases TO attestor_api, attestor_signer;  -- taken only as a row lock: no statement sets it anew
GRANT INSERT, UPDATE ON decisions TO attestor_api;
GRANT UPDATE (state, reason, sentence, tries, not_before, lease_until, content_present, updated_at) ON signing_requests TO attestor_api;
GRANT INSERT ON events, signed_digests, signatures TO attestor_signer;
GRANT UPDATE (state, reason, sentence, tries, fence, lease_until, not_before, signing_time, updated_at) ON signing_requests TO attestor_signer;
ALTER TABLE signing_requests ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_reads ON signing_requests FOR SELECT TO attestor_api USING (true);
CREATE POLICY api_asks ON signing_requests FOR INSERT TO attestor_api WITH CHECK (state IN ('waiting', 'queued'));
CREATE POLICY api_moves ON signing_requests FOR UPDATE TO attestor_api
    USING (state NOT IN ('claimed', 'signed')) WITH CHECK (state NOT IN ('claimed', 'signed'));
CREATE POLICY signer_all ON signing_requests FOR ALL TO attestor_signer USING (true) WITH CHECK (true);

-- migrate: rollback

-- Rules beyond agreement: places of quotas, and approvals that people signed
-- depends: 0002_log

-- migrate: apply

-- Invariants: an approval stands once, by what was signed; a place of a quota is one release's digest's, and once spent stays;
-- the API takes approvals in and back, and only the signer's role spends them; a vote's withdrawals stand once each, by their bytes.

CREATE TABLE approval_manifests (
    sha256 bytea PRIMARY KEY,
    body   bytea NOT NULL CHECK (octet_length(body) <= 2097152),
    CHECK (sha256 = sha256(body))
);

CREATE TABLE approvals (
    document_sha256 bytea PRIMARY KEY,
    approver        text NOT NULL,
    key             text NOT NULL,
    action          text NOT NULL CHECK (action IN ('release', 'downgrade', 're-sign', 'dispute', 'quota')),
    tier            text NOT NULL,
    document        bytea NOT NULL CHECK (octet_length(document) <= 4096),
    signature       bytea NOT NULL CHECK (octet_length(signature) <= 16384),
    reason          text NOT NULL CHECK (octet_length(reason) <= 4096),
    manifest        bytea REFERENCES approval_manifests,
    until           timestamptz NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at      timestamptz,
    revocation      bytea CHECK (octet_length(revocation) <= 32768),
    CHECK (document_sha256 = sha256(document)),
    CHECK ((revoked_at IS NULL) = (revocation IS NULL))
);

-- What an approval is for; a release need not be known yet.
CREATE TABLE approval_pairs (
    approval   bytea NOT NULL REFERENCES approvals,
    release_id bytea NOT NULL CHECK (octet_length(release_id) = 32),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    spent_at   timestamptz,
    PRIMARY KEY (approval, release_id, sha256)
);
CREATE INDEX approval_pairs_by_release ON approval_pairs (release_id, sha256);

CREATE TABLE quota_places (
    tier        text NOT NULL,
    signing_key text NOT NULL,
    period      text NOT NULL,
    release_id  bytea NOT NULL REFERENCES releases,
    sha256      bytea NOT NULL CHECK (octet_length(sha256) = 32),
    spent       boolean NOT NULL DEFAULT false,
    taken_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tier, signing_key, period, release_id, sha256)
);
CREATE INDEX quota_places_unspent ON quota_places (release_id, sha256) WHERE NOT spent;

-- A second digest of a release is signed where people approved it: the signer's transaction sees to that, under the release's lock.
ALTER TABLE signed_digests DROP CONSTRAINT signed_digests_pkey;
ALTER TABLE signatures DROP CONSTRAINT signatures_pkey;
ALTER TABLE signatures ADD PRIMARY KEY (release_id, key_fingerprint, sha256);

-- What a key took back that does not count any more, a sound one takes back again: both stay, as the log names both.
ALTER TABLE withdrawals DROP CONSTRAINT withdrawals_pkey;
CREATE UNIQUE INDEX withdrawals_once ON withdrawals (release_id, operator, payload_digest, sha256(body));

ALTER TABLE log_outbox DROP CONSTRAINT log_outbox_kind_check;
ALTER TABLE log_outbox ADD CONSTRAINT log_outbox_kind_check CHECK (
    kind IN ('received', 'decision', 'signature', 'policy', 'withdrawal', 'late-dissent', 'revocation', 'canary'));
-- Each decision looks whether a policy waits there.
CREATE INDEX log_outbox_policies ON log_outbox (id) WHERE kind = 'policy';
-- Whoever decides looks whether a newer one is in force.
CREATE INDEX log_entries_policies ON log_entries (idx) WHERE kind = 'policy';
DROP POLICY api_tells ON log_outbox;
CREATE POLICY api_tells ON log_outbox FOR INSERT TO attestor_api WITH CHECK (
    kind IN ('received', 'withdrawal', 'late-dissent', 'revocation')
    OR (kind = 'decision' AND convert_from(entry, 'UTF8')::jsonb ->> 'verdict' = 'refuse')
);
DROP POLICY signer_tells ON log_outbox;
CREATE POLICY signer_tells ON log_outbox FOR INSERT TO attestor_signer
    WITH CHECK (kind IN ('decision', 'signature', 'policy', 'canary'));

-- The lower, the sooner: databases, images, packages, bulk.
ALTER TABLE signing_requests ADD COLUMN lane smallint NOT NULL DEFAULT 2 CHECK (lane BETWEEN 0 AND 3);
UPDATE signing_requests q SET lane = CASE r.kind WHEN 'database' THEN 0 WHEN 'package' THEN 2 ELSE 1 END
FROM releases r WHERE r.id = q.release_id;
DROP INDEX signing_requests_due;
CREATE INDEX signing_requests_due ON signing_requests (lane, created_at) WHERE state = 'queued';
CREATE INDEX signing_requests_open ON signing_requests (id) WHERE state = 'waiting';
GRANT INSERT (lane) ON signing_requests TO attestor_api;

-- No request of these is claimed.
CREATE TABLE paused_tiers (
    tier      text PRIMARY KEY,
    reason    text NOT NULL CHECK (octet_length(reason) <= 4096),
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON paused_tiers TO attestor_api, attestor_signer;

-- Under which policy (hex SHA-256) the decision was told: under another one it is made anew, and nothing is late for it.
ALTER TABLE signing_requests ADD COLUMN decided_under text;
GRANT UPDATE (decided_under) ON signing_requests TO attestor_signer;
CREATE INDEX signing_requests_ended ON signing_requests (state, reason, updated_at) WHERE state IN ('refused', 'aside');

CREATE OR REPLACE VIEW shown_requests WITH (security_invoker = true) AS
SELECT q.id, q.release_id, r.kind, r.purl, r.file_name, q.requester, q.tier, q.size, q.sha256, q.sha512, q.content,
       q.content_present, q.state AS stored_state,
       CASE WHEN seal.sealed THEN 'claimed' ELSE q.state END AS state,
       CASE WHEN seal.sealed THEN 'sealed' WHEN paused.reason IS NOT NULL THEN 'tier-paused' ELSE q.reason END AS reason,
       CASE WHEN seal.sealed THEN 'Signed; it can be read once the log includes it.'
            WHEN paused.reason IS NOT NULL THEN 'The tier is paused: ' || paused.reason ELSE q.sentence END AS sentence,
       q.tries, q.created_at, q.updated_at, q.decided_at, q.not_before, q.lane, q.decided_under
FROM signing_requests q
JOIN releases r ON r.id = q.release_id
LEFT JOIN paused_tiers paused ON paused.tier = q.tier AND q.state = 'queued'
CROSS JOIN LATERAL (SELECT q.state = 'signed' AND NOT EXISTS (
    SELECT FROM signatures s WHERE s.release_id = q.release_id AND s.sha256 = q.sha256
) AS sealed) AS seal;

GRANT SELECT ON approvals, approval_manifests, approval_pairs, quota_places TO attestor_api, attestor_signer;
GRANT INSERT ON approvals, approval_manifests, approval_pairs TO attestor_api;
GRANT UPDATE (revoked_at, revocation) ON approvals TO attestor_api;
GRANT UPDATE (received_at) ON approvals TO attestor_signer;  -- taken only as a row lock: no statement sets it anew
GRANT UPDATE (spent_at) ON approval_pairs TO attestor_signer;
GRANT INSERT, UPDATE (spent, taken_at), DELETE ON quota_places TO attestor_signer;

-- Release keys as a signer saw them last on the HSM, their canaries (a few of each), and when somebody asked for canaries.
CREATE TABLE release_keys (
    name        text PRIMARY KEY CHECK (octet_length(name) <= 128),
    fingerprint text NOT NULL CHECK (octet_length(fingerprint) = 40),
    certificate bytea NOT NULL CHECK (octet_length(certificate) <= 65536),
    counted     bigint NOT NULL CHECK (counted >= 0),
    operations  bigint,
    stopped     boolean NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE canary_signatures (
    key_fingerprint text NOT NULL CHECK (octet_length(key_fingerprint) = 40),
    idx             bigint NOT NULL CHECK (idx >= 0),
    created         timestamptz NOT NULL,
    signature       bytea NOT NULL CHECK (octet_length(signature) <= 16384),
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (key_fingerprint, idx)
);

CREATE TABLE canary_wanted (
    id integer PRIMARY KEY CHECK (id = 1),
    at timestamptz NOT NULL
);

GRANT SELECT ON release_keys, canary_signatures TO attestor_api, attestor_signer;
GRANT SELECT ON canary_wanted TO attestor_signer;
GRANT INSERT, UPDATE ON release_keys TO attestor_signer;
GRANT INSERT, DELETE ON canary_signatures TO attestor_signer;

-- migrate: rollback

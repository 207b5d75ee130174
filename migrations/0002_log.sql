-- Every decision and every signature stands in an append-only log before the signature can be read
-- depends: 0001_ground

-- migrate: apply

-- Invariants: entries are only ever appended, without a gap, by the sequencer's role; the state only grows; what the log does
-- not include yet of a signature's entry keeps that signature unreadable to the API's role.

CREATE TABLE log_outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject   uuid NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('received', 'decision', 'signature', 'policy', 'withdrawal', 'late-dissent')),
    number    integer NOT NULL CHECK (number BETWEEN 0 AND 1000000),
    entry     bytea NOT NULL CHECK (octet_length(entry) BETWEEN 1 AND 65535),
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (subject, kind, number),
    CHECK (convert_from(entry, 'UTF8')::jsonb ->> 'type' IS NOT DISTINCT FROM kind)
);

-- What was taken out of the outbox and is no entry, or not under its own key: it must not stop the others, and somebody should look.
CREATE TABLE log_refused (
    entry      bytea NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE log_entries (
    idx     bigint PRIMARY KEY CHECK (idx >= 0),
    subject uuid NOT NULL,
    kind    text NOT NULL,
    number  integer NOT NULL,
    leaf    bytea NOT NULL CHECK (octet_length(leaf) = 32),
    entry   bytea NOT NULL CHECK (octet_length(entry) BETWEEN 1 AND 65535),
    UNIQUE (subject, kind, number)
);

-- Tile levels from 1 up: one row for each complete subtree of 256 to the power of its level.
CREATE TABLE log_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 7),
    idx   bigint NOT NULL CHECK (idx >= 0),
    hash  bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, idx)
);

CREATE TABLE log_checkpoints (
    size      bigint PRIMARY KEY CHECK (size >= 0),
    root      bytea NOT NULL CHECK (octet_length(root) = 32),
    note      bytea NOT NULL CHECK (octet_length(note) <= 65536),
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE log_cosignatures (
    size    bigint NOT NULL REFERENCES log_checkpoints,
    witness text NOT NULL,
    line    text NOT NULL CHECK (octet_length(line) <= 8192),
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (size, witness)
);

-- What each sequencer knows that a witness has last accepted, for the next consistency proof.
CREATE TABLE log_witnesses (
    witness text PRIMARY KEY,
    size    bigint NOT NULL CHECK (size >= 0)
);

CREATE TABLE log_state (
    id        integer PRIMARY KEY CHECK (id = 1),
    size      bigint NOT NULL CHECK (size >= 0),
    root      bytea NOT NULL CHECK (octet_length(root) = 32),
    frontier  bytea NOT NULL CHECK (octet_length(frontier) <= 2048),
    published bigint NOT NULL CHECK (published BETWEEN 0 AND size)
);
INSERT INTO log_state (id, size, root, frontier, published)
VALUES (1, 0, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '', 0);

-- What entries name by digest and a bundle carries: evidence, verification summaries, policies.
CREATE TABLE log_documents (
    sha256 bytea PRIMARY KEY,
    body   bytea NOT NULL CHECK (octet_length(body) <= 8388608),
    CHECK (sha256 = sha256(body))
);

CREATE TABLE signer_status (
    instance      text PRIMARY KEY CHECK (octet_length(instance) <= 64),
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    halted        boolean NOT NULL,
    code          text NOT NULL,
    sentence      text NOT NULL,
    anchor_size   bigint NOT NULL,
    policy_digest text NOT NULL
);

-- When the signer enqueued a decision entry: what dissents from then on is late.
ALTER TABLE signing_requests ADD COLUMN decided_at timestamptz;

-- A request is shown as signed once its signature can be read by whoever asks: row level security is the asking role's.
CREATE VIEW shown_requests WITH (security_invoker = true) AS
SELECT q.id, q.release_id, r.kind, r.purl, r.file_name, q.requester, q.tier, q.size, q.sha256, q.sha512, q.content,
       q.content_present, q.state AS stored_state,
       CASE WHEN seal.sealed THEN 'claimed' ELSE q.state END AS state,
       CASE WHEN seal.sealed THEN 'sealed' ELSE q.reason END AS reason,
       CASE WHEN seal.sealed THEN 'Signed; it can be read once the log includes it.' ELSE q.sentence END AS sentence,
       q.tries, q.created_at, q.updated_at, q.decided_at
FROM signing_requests q
JOIN releases r ON r.id = q.release_id
CROSS JOIN LATERAL (SELECT q.state = 'signed' AND NOT EXISTS (
    SELECT FROM signatures s WHERE s.release_id = q.release_id AND s.sha256 = q.sha256
) AS sealed) AS seal;

CREATE FUNCTION log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER log_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entries FOR EACH STATEMENT EXECUTE FUNCTION log_refuse();
CREATE TRIGGER log_nodes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_nodes FOR EACH STATEMENT EXECUTE FUNCTION log_refuse();
CREATE TRIGGER log_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION log_refuse();
CREATE TRIGGER log_refused_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_refused FOR EACH STATEMENT EXECUTE FUNCTION log_refuse();
CREATE TRIGGER log_state_stays BEFORE DELETE OR TRUNCATE ON log_state FOR EACH STATEMENT EXECUTE FUNCTION log_refuse();

CREATE FUNCTION log_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size < OLD.size OR NEW.published < OLD.published OR (NEW.size = OLD.size AND NEW.root <> OLD.root) THEN
        RAISE EXCEPTION 'the log only grows' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER log_state_only_grows BEFORE UPDATE ON log_state FOR EACH ROW EXECUTE FUNCTION log_only_grows();

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'attestor_sequencer') THEN CREATE ROLE attestor_sequencer LOGIN; END IF;
END $$;

GRANT SELECT ON log_entries, log_nodes, log_checkpoints, log_cosignatures, log_state, log_documents, signer_status
    TO attestor_api, attestor_signer;
GRANT SELECT ON shown_requests TO attestor_api;
-- How the log stands with what it was told, and nothing of what that is: the API may put into the outbox and not look.
CREATE VIEW log_backlog AS SELECT (SELECT min(queued_at) FROM log_outbox) AS oldest, (SELECT count(*) FROM log_refused) AS refused;
GRANT SELECT ON log_backlog TO attestor_api;
GRANT SELECT ON log_outbox TO attestor_signer;
GRANT INSERT (subject, kind, number, entry) ON log_outbox TO attestor_api, attestor_signer;
GRANT INSERT ON log_documents TO attestor_signer;
GRANT INSERT, UPDATE ON signer_status TO attestor_signer;
GRANT UPDATE (decided_at) ON signing_requests TO attestor_signer;
-- The decision entry fixes a signature's time; the column of the ground is not used any more.
REVOKE UPDATE (signing_time) ON signing_requests FROM attestor_signer;

GRANT SELECT, DELETE ON log_outbox TO attestor_sequencer;
GRANT SELECT, INSERT ON log_entries, log_nodes, log_checkpoints, log_cosignatures, log_refused TO attestor_sequencer;
GRANT SELECT, INSERT, UPDATE ON log_witnesses TO attestor_sequencer;
GRANT SELECT, UPDATE ON log_state TO attestor_sequencer;
GRANT SELECT ON _pogo_migration TO attestor_sequencer;

ALTER TABLE log_outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_tells ON log_outbox FOR INSERT TO attestor_api WITH CHECK (
    kind IN ('received', 'withdrawal', 'late-dissent')
    OR (kind = 'decision' AND convert_from(entry, 'UTF8')::jsonb ->> 'verdict' = 'refuse')
);
CREATE POLICY signer_tells ON log_outbox FOR INSERT TO attestor_signer WITH CHECK (kind IN ('decision', 'signature', 'policy'));
CREATE POLICY signer_looks ON log_outbox FOR SELECT TO attestor_signer USING (true);
CREATE POLICY sequencer_looks ON log_outbox FOR SELECT TO attestor_sequencer USING (true);
CREATE POLICY sequencer_takes ON log_outbox FOR DELETE TO attestor_sequencer USING (true);

-- A signature is sealed until a published checkpoint includes the entry that names its digest.
ALTER TABLE signatures ENABLE ROW LEVEL SECURITY;
CREATE POLICY signer_all ON signatures FOR ALL TO attestor_signer USING (true) WITH CHECK (true);
CREATE POLICY api_reads_unsealed ON signatures FOR SELECT TO attestor_api USING (EXISTS (
    SELECT FROM log_entries e, log_state s
    WHERE e.subject = signatures.request_id AND e.kind = 'signature' AND e.idx < s.published
      AND convert_from(e.entry, 'UTF8')::jsonb ->> 'signature' = encode(sha256(signatures.signature), 'hex')
));

-- migrate: rollback

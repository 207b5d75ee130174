-- lock_state: what the database states of its log, locked as the sequencer locks it
SELECT size, root FROM log_state WHERE id = 1 FOR UPDATE;

-- entries: what it holds, in order
SELECT entry FROM log_entries WHERE idx >= $1 AND idx < $2 ORDER BY idx;

-- add_entries: in their places
INSERT INTO log_entries (idx, subject, kind, number, leaf, entry)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::integer[], $5::bytea[], $6::bytea[]);

-- add_nodes: subtrees that became complete
INSERT INTO log_nodes (level, idx, hash) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]);

-- add_checkpoint: as the log signed it; the very same one may be there, another one may not
INSERT INTO log_checkpoints (size, root, note) SELECT $1, $2, $3
WHERE NOT EXISTS (SELECT FROM log_checkpoints WHERE (size, root, note) = ($1, $2, $3));

-- conclude: the state of the recovered tree, published
UPDATE log_state SET size = $2, root = $3, frontier = $4, published = $2 WHERE id = 1 AND size = $1 RETURNING size;

-- clear_outbox: what waited for the log and stands in it
WITH gone AS (
    DELETE FROM log_outbox o USING log_entries e WHERE (o.subject, o.kind, o.number) = (e.subject, e.kind, e.number)
    RETURNING 1
)
SELECT count(*) FROM gone;

-- lost_payloads: places (from 1) of named envelopes that are not held as they came
SELECT t.place FROM unnest($1::text[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS t (operator, payload, sha256, place)
WHERE NOT EXISTS (
    SELECT FROM envelopes v
    WHERE (v.operator, v.payload_digest) = (t.operator, t.payload) AND sha256(v.body) = t.sha256
) ORDER BY t.place;

-- lost_withdrawals: places of named withdrawals that are not held as they came
SELECT t.place
FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS t (operator, payload, sha256, release, place)
WHERE NOT EXISTS (
    SELECT FROM withdrawals w
    WHERE (w.release_id, w.operator, w.payload_digest) = (t.release, t.operator, t.payload) AND sha256(w.body) = t.sha256
) ORDER BY t.place;

-- lost_signatures: places of named signatures that are not held
SELECT t.place FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS t (release, sha256, place)
WHERE NOT EXISTS (SELECT FROM signatures s WHERE s.release_id = t.release AND sha256(s.signature) = t.sha256)
ORDER BY t.place;

-- take_lock: keep losers from queueing for the state's row; the time they may wait for it holds for this transaction
SELECT set_config('lock_timeout', '2s', true), pg_try_advisory_xact_lock($1) AS taken;

-- lock_state: where the log stands, to be moved by this transaction alone
SELECT size, root, frontier, published FROM log_state WHERE id = 1 FOR UPDATE;

-- state: where the log stands
SELECT size, root, frontier, published FROM log_state WHERE id = 1;

-- newest: where the log stands, with the checkpoint that the log signed last
SELECT s.size, s.root, s.frontier, s.published, c.note FROM log_state s
LEFT JOIN log_checkpoints c ON c.size = s.size WHERE s.id = 1;

-- drain: take the oldest entries out of the outbox; "logged" is what stands in the log under the same key, each looked up by the index, however long the log is
WITH taken AS (
    DELETE FROM log_outbox WHERE id = ANY(ARRAY(SELECT id FROM log_outbox ORDER BY id LIMIT $1))
    RETURNING id, subject, kind, number, entry
)
SELECT t.subject, t.kind, t.number, t.entry,
       (SELECT e.entry FROM log_entries e WHERE (e.subject, e.kind, e.number) = (t.subject, t.kind, t.number)) AS logged
FROM taken t ORDER BY t.id;

-- refuse: keep what can be no entry
INSERT INTO log_refused (entry) SELECT * FROM unnest($1::bytea[]);

-- waiting: whether the outbox holds anything; by its index, which knows what is dead
SELECT EXISTS (SELECT FROM log_outbox ORDER BY id LIMIT 1);

-- append: all of one checkpoint, by compare-and-swap on the size that was read; a row says that it was written. The very same checkpoint may be there, another one may not
WITH moved AS (
    UPDATE log_state SET size = $2, root = $3, frontier = $4, published = CASE WHEN $5 THEN $2 ELSE published END
    WHERE id = 1 AND size = $1 RETURNING size
), placed AS (
    INSERT INTO log_entries (idx, subject, kind, number, leaf, entry)
    SELECT t.* FROM moved, unnest($7::bigint[], $8::uuid[], $9::text[], $10::integer[], $11::bytea[], $12::bytea[]) AS t
), completed AS (
    INSERT INTO log_nodes (level, idx, hash)
    SELECT t.* FROM moved, unnest($13::smallint[], $14::bigint[], $15::bytea[]) AS t
), signed AS (
    INSERT INTO log_checkpoints (size, root, note) SELECT $2, $3, $6 FROM moved
    WHERE NOT EXISTS (SELECT FROM log_checkpoints WHERE (size, root, note) = ($2, $3, $6))
)
SELECT size FROM moved;

-- announce_between: hint that the published size grew, and to who waits for a signature that this unsealed
SELECT pg_notify(channel, payload) FROM (
    SELECT 'attestor_log' AS channel, $2::bigint::text AS payload
    UNION ALL
    SELECT 'attestor', convert_from(entry, 'UTF8')::jsonb ->> 'release' FROM log_entries
    WHERE kind = 'signature' AND idx >= $1 AND idx < $2
) AS hints;

-- publish: show readers the checkpoint of this size
UPDATE log_state SET published = $1
WHERE id = 1 AND published < $1 AND EXISTS (SELECT FROM log_checkpoints WHERE size = $1) RETURNING published;

-- published_note: the checkpoint that readers are shown, and its cosignature lines
SELECT c.note, ARRAY(SELECT k.line FROM log_cosignatures k WHERE k.size = c.size ORDER BY k.witness) AS lines
FROM log_state s JOIN log_checkpoints c ON c.size = s.published WHERE s.id = 1;

-- leaves: leaf hashes, in order
SELECT leaf FROM log_entries WHERE idx >= $1 AND idx < $2 ORDER BY idx;

-- nodes: hashes of one tile level above the leaves, in order
SELECT hash FROM log_nodes WHERE level = $3 AND idx >= $1 AND idx < $2 ORDER BY idx;

-- entries: entries, in order
SELECT entry FROM log_entries WHERE idx >= $1 AND idx < $2 ORDER BY idx;

-- published_entries: entries that a published checkpoint includes, in order
SELECT e.entry FROM log_entries e, log_state s
WHERE e.idx >= $1 AND e.idx < $2 AND e.idx < s.published ORDER BY e.idx;

-- keep_cosignature: the first one of a witness stands
INSERT INTO log_cosignatures (size, witness, line) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- cosignatures: of one checkpoint
SELECT witness, line FROM log_cosignatures WHERE size = $1;

-- witness_size: what a witness is known to have accepted
SELECT size FROM log_witnesses WHERE witness = $1;

-- keep_witness_size: what a witness said that it has accepted
INSERT INTO log_witnesses (witness, size) VALUES ($1, $2) ON CONFLICT (witness) DO UPDATE SET size = excluded.size;

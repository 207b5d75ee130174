-- lock_releases: insert what is missing, lock all in the order given, then read the clock; the false condition locks without a new row version
WITH placed AS (
    INSERT INTO releases (id, kind, purl, file_name)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT (id) DO UPDATE SET first_seen = releases.first_seen WHERE false
    RETURNING id
)
SELECT clock_timestamp() FROM (SELECT count(*) FROM placed) AS locked;

-- votes_on: every claim on some releases, and its withdrawals
SELECT r.id, r.kind, r.purl, r.file_name, c.operator, c.payload_digest, c.form, c.keys, c.outcome, c.sha256, c.sha512,
       c.size, c.received_at, ARRAY(
           SELECT body FROM withdrawals w
           WHERE (w.release_id, w.operator, w.payload_digest) = (c.release_id, c.operator, c.payload_digest) ORDER BY withdrawn_at
       ) AS withdrawals
FROM claims c
JOIN releases r ON r.id = c.release_id
WHERE c.release_id = ANY($1::bytea[]);

-- requests_for: every signing request for some releases, oldest first
SELECT * FROM shown_requests WHERE release_id = ANY($1::bytea[]) ORDER BY created_at, id;

-- signed_digests: what was signed of some releases
SELECT release_id, sha256 FROM signed_digests WHERE release_id = ANY($1::bytea[]);

-- policy_serial: the newest that the log names
SELECT coalesce(max((convert_from(entry, 'UTF8')::jsonb ->> 'serial')::bigint), 0) FROM log_entries WHERE kind = 'policy';

-- approvals_for: approvals of any bytes of some releases: those that nobody took back, whose window is not over, and that no decision spent; and what the decision on a request spent that is not at its end, whatever came later
SELECT p.release_id, p.sha256, a.key, a.document, a.signature FROM approval_pairs p
JOIN approvals a ON a.document_sha256 = p.approval
WHERE p.release_id = ANY($1::bytea[])
  AND (p.spent_at IS NULL AND a.revoked_at IS NULL AND a.until > clock_timestamp() OR p.spent_at IS NOT NULL AND EXISTS (
      SELECT FROM signing_requests q WHERE (q.release_id, q.sha256) = (p.release_id, p.sha256) AND q.decided_at IS NOT NULL
      AND q.state IN ('waiting', 'queued', 'claimed', 'aside')));

-- keep_arrivals: envelopes, then the claims in them, and what the log is told
WITH kept AS (
    INSERT INTO envelopes (operator, payload_digest, body, received_at)
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::timestamptz[])
    ON CONFLICT DO NOTHING
), told AS (
    INSERT INTO log_outbox (subject, kind, number, entry)
    SELECT * FROM unnest($15::uuid[], $16::text[], $17::integer[], $18::bytea[])
)
INSERT INTO claims (release_id, operator, payload_digest, form, keys, outcome, sha256, sha512, size, received_at)
SELECT release_id, operator, payload_digest, form, string_to_array(keys, ' '), outcome, sha256, sha512, size, received_at
FROM unnest($5::bytea[], $6::text[], $7::bytea[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::bytea[],
            $13::bigint[], $14::timestamptz[])
     AS t (release_id, operator, payload_digest, form, keys, outcome, sha256, sha512, size, received_at);

-- tell: entries for the log
INSERT INTO log_outbox (subject, kind, number, entry)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bytea[]);

-- keep_withdrawals: what operators took back, for good
INSERT INTO withdrawals (operator, payload_digest, release_id, reason, body, withdrawn_at)
SELECT operator, payload_digest, release_id, reason, body, clock_timestamp()
FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::bytea[])
     AS t (operator, payload_digest, release_id, reason, body)
ON CONFLICT DO NOTHING;

-- keep_decisions: the last evaluation of each release
INSERT INTO decisions (release_id, state, tier, policy_digest, holds_until, view, decided_at)
SELECT release_id, state, tier, policy_digest, holds_until, view, clock_timestamp()
FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
     AS t (release_id, state, tier, policy_digest, holds_until, view)
ON CONFLICT (release_id) DO UPDATE SET state = excluded.state, tier = excluded.tier,
    policy_digest = excluded.policy_digest, holds_until = excluded.holds_until, view = excluded.view,
    decided_at = excluded.decided_at;

-- add_events: steps of releases and requests
INSERT INTO events (release_id, request_id, what, detail)
SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::text[], $4::text[]);

-- open_request: a new signing request
INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state,
                              reason, sentence, created_at, updated_at, lane)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14);

-- move_requests: to their next state, only from the state that was read; leaving "aside" gives the tries back
UPDATE signing_requests q SET state = m.after, reason = m.reason, sentence = m.sentence, updated_at = clock_timestamp(),
    tries = CASE WHEN m.before = 'aside' THEN 0 ELSE q.tries END,
    not_before = CASE WHEN m.before = 'queued' THEN q.not_before ELSE clock_timestamp() END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS m (id, before, after, reason, sentence)
WHERE q.id = m.id AND q.state = m.before
RETURNING q.id;

-- content_arrived: the bytes of a request are complete
UPDATE signing_requests SET content_present = true, updated_at = clock_timestamp() WHERE id = $1;

-- announce: hint that releases moved, and that requests for them may be in the queue
SELECT pg_notify('attestor', id), pg_notify('attestor_queue', '') FROM unnest($1::text[]) AS t (id);

-- release: one release with its last evaluation
SELECT r.id, r.kind, r.purl, r.file_name, d.view, d.holds_until FROM releases r
LEFT JOIN decisions d ON d.release_id = r.id WHERE r.id = $1;

-- releases: a page of releases in the order of their ids, under any of the filters
SELECT r.id, r.kind, r.purl, r.file_name, d.view, d.holds_until FROM releases r
LEFT JOIN decisions d ON d.release_id = r.id
WHERE ($1::bytea IS NULL OR r.id > $1)
  AND ($2::text IS NULL OR r.purl = $2)
  AND ($3::text IS NULL OR r.file_name = $3)
  AND ($4::bytea IS NULL OR EXISTS (SELECT FROM claims c WHERE c.release_id = r.id AND c.sha256 = $4))
  AND ($5::text IS NULL OR d.tier = $5)
  AND ($6::text IS NULL OR d.state = $6)
ORDER BY r.id LIMIT $7;

-- stale_releases: releases whose evaluation another policy made, or a key's time ended, or that the signer did not share when it gave a request back (over its policy: once a signer at work has this one); each by its index
WITH stale AS (
    (SELECT release_id FROM decisions WHERE policy_digest < $1 LIMIT $2)
    UNION (SELECT release_id FROM decisions WHERE policy_digest > $1 LIMIT $2)
    UNION (SELECT release_id FROM decisions WHERE holds_until <= clock_timestamp() LIMIT $2)
    UNION (SELECT d.release_id FROM signing_requests q JOIN decisions d USING (release_id)
           WHERE q.state = 'waiting' AND q.reason <> 'content-missing' AND q.not_before <= clock_timestamp()
             AND (d.state <> 'pending' OR q.decided_under = $1) AND greatest(q.updated_at, q.not_before) > d.decided_at
             AND (q.reason NOT IN ('policies-differ', 'policy-older', 'policy-changed') OR EXISTS (
                  SELECT FROM signer_status WHERE policy_digest = $1 AND NOT halted
                  AND at > clock_timestamp() - interval '30 seconds')) LIMIT $2)
)
SELECT r.id, r.kind, r.purl, r.file_name, d.view, d.holds_until FROM stale s
JOIN releases r ON r.id = s.release_id JOIN decisions d ON d.release_id = r.id LIMIT $2;

-- signed_with: of the next signed releases, each; and with its decision where a vote on it has one of some keys and its signature can be read; the laterals keep it to the page, however much is signed
WITH page AS (
    SELECT DISTINCT release_id FROM signed_digests WHERE $2::bytea IS NULL OR release_id > $2 ORDER BY release_id LIMIT $3
)
SELECT r.id, r.kind, r.purl, r.file_name, s.sha256, d.idx, d.entry
FROM page p
CROSS JOIN LATERAL (SELECT * FROM releases WHERE id = p.release_id OFFSET 0) r
LEFT JOIN LATERAL (
    SELECT true AS hit FROM claims c WHERE c.release_id = p.release_id AND c.keys && $1::text[] LIMIT 1
) found ON true
LEFT JOIN LATERAL (
    SELECT sha256, request_id FROM signatures WHERE found.hit AND release_id = p.release_id OFFSET 0
) s ON true
LEFT JOIN log_entries e ON e.subject = s.request_id AND e.kind = 'signature'
LEFT JOIN log_entries d ON d.idx = (convert_from(e.entry, 'UTF8')::jsonb ->> 'decision')::bigint AND d.kind = 'decision'
ORDER BY r.id, d.idx;

-- envelopes_of: the attestations of a release as they came
SELECT e.operator, e.payload_digest, e.body, e.received_at FROM claims c JOIN envelopes e USING (operator, payload_digest)
WHERE c.release_id = $1 ORDER BY e.operator, e.payload_digest;

-- envelope: one attestation of a release as it came
SELECT e.body FROM claims c JOIN envelopes e USING (operator, payload_digest)
WHERE c.release_id = $1 AND c.operator = $2 AND c.payload_digest = $3;

-- withdrawals_of: the withdrawals of a release as they came
SELECT DISTINCT body FROM withdrawals WHERE release_id = $1;

-- events_of: the life of a release, in order
SELECT at, request_id, what, detail FROM events WHERE release_id = $1 ORDER BY id;

-- request: one signing request
SELECT * FROM shown_requests WHERE id = $1;

-- list_requests: a page of one requester's signing requests; the stored state comes first, as it needs no look at signatures
SELECT * FROM shown_requests
WHERE requester = $1
  AND ($2::text IS NULL OR ((stored_state = $2 OR (stored_state, $2) = ('signed', 'claimed')) AND state = $2))
  AND ($3::uuid IS NULL OR id > $3)
ORDER BY id LIMIT $4;

-- signature_for: the signature of the release and digest that a request names
SELECT s.signature FROM signatures s JOIN signing_requests q ON q.release_id = s.release_id AND q.sha256 = s.sha256
WHERE q.id = $1 AND q.state = 'signed' ORDER BY s.stored_at LIMIT 1;

-- awaited_contents: what requests that are not settled still need
SELECT DISTINCT sha256 FROM signing_requests WHERE state IN ('waiting', 'queued', 'claimed', 'aside');

-- signers: how each signer said that it stands
SELECT instance, halted, code, sentence, anchor_size, policy_digest, at FROM signer_status ORDER BY instance;

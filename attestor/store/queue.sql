-- claim: with its release's names, and of the lanes up to one, a request whose lease is over, else the oldest due one of the first lane, else one whose bytes were not there and may be now, each by its index; none of a tier that is paused; the new fence makes a late holder's writes fail
UPDATE signing_requests q SET state = 'claimed', fence = fence + 1, tries = tries + 1, updated_at = clock_timestamp(),
    lease_until = clock_timestamp() + $1 * interval '1 second', reason = 'claimed', sentence = 'The signer works on it.'
FROM releases r WHERE r.id = q.release_id AND q.id = coalesce(
    (SELECT id FROM signing_requests WHERE state = 'claimed' AND lease_until < clock_timestamp() AND lane <= $2
     AND tier <> ALL (ARRAY(SELECT tier FROM paused_tiers)) ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED),
    (SELECT id FROM signing_requests WHERE state = 'queued' AND not_before <= clock_timestamp() AND lane <= $2
     AND tier <> ALL (ARRAY(SELECT tier FROM paused_tiers)) ORDER BY lane, created_at LIMIT 1 FOR UPDATE SKIP LOCKED),
    (SELECT id FROM signing_requests WHERE state = 'waiting' AND reason = 'content-missing' AND content_present
     AND not_before <= clock_timestamp() AND lane <= $2
     AND tier <> ALL (ARRAY(SELECT tier FROM paused_tiers)) ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED)
)
RETURNING q.*, r.kind, r.purl, r.file_name, clock_timestamp() AS clock;

-- evidence: of a release, in one look: attestations as they came, claims, withdrawals, what was signed, approvals of these bytes that count now or are spent on them, and under which policy the API decided last
SELECT ARRAY(SELECT ROW (e.operator, e.body, e.received_at) FROM claims JOIN envelopes e USING (operator, payload_digest)
             WHERE release_id = $1 ORDER BY operator, payload_digest) AS envelopes,
       ARRAY(SELECT ROW (operator, payload_digest, form, outcome, sha256, sha512, size) FROM claims
             WHERE release_id = $1) AS stated,
       ARRAY(SELECT DISTINCT body FROM withdrawals WHERE release_id = $1) AS withdrawals,
       ARRAY(SELECT sha256 FROM signed_digests WHERE release_id = $1) AS signed,
       ARRAY(SELECT ROW (a.key, a.document, a.signature, a.manifest) FROM approval_pairs p
             JOIN approvals a ON a.document_sha256 = p.approval
             WHERE p.release_id = $1 AND p.sha256 = $2
               AND (p.spent_at IS NOT NULL OR (a.revoked_at IS NULL AND a.until > clock_timestamp())) ORDER BY a.document_sha256) AS approvals,
       (SELECT policy_digest FROM decisions WHERE release_id = $1) AS policy_digest;

-- manifests: what approvals name by digest
SELECT body FROM approval_manifests WHERE sha256 = ANY($1::bytea[]);

-- weighed: by digest, every vote on a release and every withdrawal, which has neither operator nor time here
SELECT e.operator, sha256(e.body) AS digest, e.received_at FROM claims c JOIN envelopes e USING (operator, payload_digest)
WHERE c.release_id = $1
UNION SELECT NULL, sha256(body), NULL FROM withdrawals WHERE release_id = $1;

-- kept_documents: which of some are here; none is ever taken away
SELECT sha256 FROM log_documents WHERE sha256 = ANY($1::bytea[]);

-- enqueue: an entry for the log and what it names by digest, unless one of its number or a later one is there; a row says that it was
WITH kept AS (
    INSERT INTO log_documents (sha256, body) SELECT * FROM unnest($5::bytea[], $6::bytea[]) ON CONFLICT DO NOTHING
), told AS (
    INSERT INTO log_outbox (subject, kind, number, entry) SELECT $1::uuid, $2::text, $3::integer, $4::bytea
    WHERE NOT EXISTS (SELECT FROM log_outbox WHERE subject = $1 AND kind = $2 AND number >= $3)
      AND NOT EXISTS (SELECT FROM log_entries WHERE subject = $1 AND kind = $2 AND number >= $3)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT pg_notify('attestor_outbox', '') FROM told;

-- tell_refusal: once, and only while few requests of the release were refused, this one included
WITH told AS (
    INSERT INTO log_outbox (subject, kind, number, entry) SELECT $1::uuid, $2::text, $3::integer, $4::bytea
    WHERE (SELECT count(*) FROM signing_requests WHERE release_id = $5 AND state = 'refused') <= $6
      AND NOT EXISTS (SELECT FROM log_entries WHERE subject = $1 AND kind = $2 AND number = $3)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT pg_notify('attestor_outbox', '') FROM told;

-- mark_decided: only with the fence, under the policy that the entry names; says whether a policy entry waits for the log, or stands in it from an index on
UPDATE signing_requests SET decided_at = clock_timestamp(),
    decided_under = convert_from($4::bytea, 'UTF8')::jsonb #>> '{policy,digest}'
WHERE id = $1 AND fence = $2 AND state = 'claimed' AND lease_until > clock_timestamp()
RETURNING EXISTS (SELECT FROM log_outbox WHERE kind = 'policy')
    OR EXISTS (SELECT FROM log_entries WHERE idx >= $3 AND kind = 'policy');

-- renew: a longer lease, while it is held
UPDATE signing_requests SET lease_until = clock_timestamp() + $3 * interval '1 second'
WHERE id = $1 AND fence = $2 AND state = 'claimed' AND lease_until > clock_timestamp()
RETURNING lease_until, clock_timestamp() AS clock;

-- give_back: to another state than signed, with the reason; where an approval came about when it was claimed, it is looked at again soon; a place of a quota that is not spent is free again
WITH given AS (
    UPDATE signing_requests SET state = $3, reason = $4, sentence = $5, lease_until = NULL, updated_at = clock_timestamp(),
        tries = CASE WHEN $3 = 'waiting' THEN 0 ELSE tries END,
        not_before = clock_timestamp() + interval '1 second' * CASE WHEN $3 = 'waiting' AND EXISTS (
            SELECT FROM approval_pairs p JOIN approvals a ON a.document_sha256 = p.approval
            WHERE (p.release_id, p.sha256) = (signing_requests.release_id, signing_requests.sha256)
              AND a.revoked_at IS NULL AND a.received_at > signing_requests.updated_at - interval '30 seconds'
        ) THEN least($6, 5.0) ELSE $6 END
    WHERE id = $1 AND fence = $2 AND state = 'claimed' RETURNING release_id, sha256
), freed AS (
    DELETE FROM quota_places p USING given g WHERE (p.release_id, p.sha256) = (g.release_id, g.sha256) AND NOT p.spent
)
SELECT release_id FROM given;

-- lock_quota: one at a time counts the places of a period
SELECT pg_advisory_xact_lock(hashtextextended($1, 4853141));

-- reserve: a place, unless all are others'; only with the fence
WITH held AS (
    SELECT release_id, sha256 FROM signing_requests
    WHERE id = $1 AND fence = $2 AND state = 'claimed' AND lease_until > clock_timestamp()
), placed AS (
    INSERT INTO quota_places (tier, signing_key, period, release_id, sha256)
    SELECT $3::text, $4::text, $5::text, h.release_id, h.sha256 FROM held h
    WHERE (SELECT count(*) FROM quota_places p WHERE (p.tier, p.signing_key, p.period) = ($3, $4, $5)
           AND (p.release_id, p.sha256) <> (h.release_id, h.sha256)) < $6
    ON CONFLICT (tier, signing_key, period, release_id, sha256) DO UPDATE SET taken_at = quota_places.taken_at
    RETURNING 1
)
SELECT EXISTS (SELECT FROM held) AS held, EXISTS (SELECT FROM placed) AS placed;

-- spend_place: the decision is on its way
UPDATE quota_places SET spent = true WHERE release_id = $1 AND sha256 = $2 AND NOT spent;

-- lock_approvals: those of some that nobody has taken back, until this transaction ends
SELECT document_sha256 FROM approvals WHERE document_sha256 = ANY($1::bytea[]) AND revoked_at IS NULL FOR SHARE;

-- spend_approvals: each once for a release and digest
UPDATE approval_pairs SET spent_at = clock_timestamp()
WHERE approval = ANY($1::bytea[]) AND release_id = $2 AND sha256 = $3 AND spent_at IS NULL RETURNING approval;

-- lock_release: the release row first, in every transaction
SELECT id FROM releases WHERE id = $1 FOR NO KEY UPDATE;

-- lock_release_and_policy: the release row first; and no policy entry is enqueued before this transaction ends
SELECT id, pg_advisory_xact_lock_shared(4853140) FROM releases WHERE id = $1 FOR NO KEY UPDATE;

-- lock_policy: once no decision entry is being enqueued, whose transaction looked for this policy entry before it was there
SELECT pg_advisory_xact_lock(4853140);

-- fix_digest: a release has one digest that was signed, and others only by approval
INSERT INTO signed_digests (release_id, sha256) SELECT $1, $2
WHERE $3 OR NOT EXISTS (SELECT FROM signed_digests WHERE release_id = $1 AND sha256 <> $2)
ON CONFLICT DO NOTHING;

-- is_fixed: whether these bytes of a release were signed
SELECT EXISTS (SELECT FROM signed_digests WHERE release_id = $1 AND sha256 = $2);

-- store_signature: only when this key has not signed these bytes yet
INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (release_id, key_fingerprint, sha256) DO NOTHING RETURNING 1;

-- mark_signed: only with the fence
UPDATE signing_requests SET state = 'signed', reason = 'signed', sentence = 'Signed.', lease_until = NULL,
    updated_at = clock_timestamp()
WHERE id = $1 AND fence = $2 AND state = 'claimed' AND lease_until > clock_timestamp() RETURNING release_id;

-- signature_of: the signature that a key made of some bytes of a release
SELECT signature FROM signatures WHERE release_id = $1 AND key_fingerprint = $2 AND sha256 = $3;

-- add_event: a step of a request, unless the same was noted last
INSERT INTO events (release_id, request_id, what, detail) SELECT $1::bytea, $2::uuid, $3::text, $4::text
WHERE NOT EXISTS (SELECT FROM (SELECT e.what, e.detail FROM events e WHERE e.release_id = $1 AND e.request_id = $2
                               ORDER BY e.id DESC LIMIT 1) AS last WHERE (last.what, last.detail) = ($3, $4));

-- document: what an entry names by digest
SELECT body FROM log_documents WHERE sha256 = $1;

-- announce: hint that a release moved
SELECT pg_notify('attestor', $1);

-- report: how a signer says that it stands; one that halted cannot say where its anchor is
INSERT INTO signer_status (instance, at, halted, code, sentence, anchor_size, policy_digest)
VALUES ($1, clock_timestamp(), $2, $3, $4, $5, $6)
ON CONFLICT (instance) DO UPDATE SET at = excluded.at, halted = excluded.halted, code = excluded.code,
    sentence = excluded.sentence, policy_digest = excluded.policy_digest,
    anchor_size = CASE WHEN excluded.halted THEN signer_status.anchor_size ELSE excluded.anchor_size END;

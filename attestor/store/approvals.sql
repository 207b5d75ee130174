-- keep_approval: once, by what was signed
INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, manifest, until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (document_sha256) DO NOTHING RETURNING 1;

-- keep_manifest: once, whoever names it
INSERT INTO approval_manifests (sha256, body) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- keep_pairs: what an approval is for
INSERT INTO approval_pairs (approval, release_id, sha256)
SELECT $1, release_id, sha256 FROM unnest($2::bytea[], $3::bytea[]) AS t (release_id, sha256);

-- lock_approver: one at a time counts the approvals of one approver
SELECT pg_advisory_xact_lock(hashtextextended($1, 4853142));

-- most_standing: how many approvals that could still count an approver has given at most for one of some pairs
SELECT coalesce(max(n), 0) FROM (
    SELECT count(*) AS n FROM unnest($2::bytea[], $3::bytea[]) AS t (release_id, sha256)
    JOIN approval_pairs p USING (release_id, sha256) JOIN approvals a ON a.document_sha256 = p.approval
    WHERE a.approver = $1 AND a.revoked_at IS NULL AND a.until > clock_timestamp() AND p.spent_at IS NULL
    GROUP BY release_id, sha256) AS each;

-- note: a step in the life of each release that an approval is for and that is known
INSERT INTO events (release_id, what, detail)
SELECT p.release_id, $2, $3 FROM approval_pairs p JOIN releases r ON r.id = p.release_id WHERE p.approval = $1;

-- lock_approval: no decision spends it until this transaction ends
SELECT revoked_at IS NOT NULL AS revoked FROM approvals WHERE document_sha256 = $1 FOR NO KEY UPDATE;

-- is_left: whether any of its pairs is not spent, as of the lock
SELECT EXISTS (SELECT FROM approval_pairs WHERE approval = $1 AND spent_at IS NULL);

-- take_back: from here on no decision spends it
UPDATE approvals SET revoked_at = clock_timestamp(), revocation = $2 WHERE document_sha256 = $1;

-- approval: one approval
SELECT a.key, a.document, a.signature, a.approver, a.reason, a.received_at, a.revoked_at, n.pairs, n.spent
FROM approvals a
CROSS JOIN LATERAL (SELECT count(*) AS pairs, count(spent_at) AS spent FROM approval_pairs WHERE approval = a.document_sha256) AS n
WHERE a.document_sha256 = $1;

-- approvals: a page of approvals in the order of their digests, under any of the filters
SELECT a.key, a.document, a.signature, a.approver, a.reason, a.received_at, a.revoked_at, n.pairs, n.spent
FROM (SELECT * FROM approvals
      WHERE ($1::bytea IS NULL OR document_sha256 > $1)
        AND ($2::text IS NULL OR tier = $2)
        AND ($3::text IS NULL OR approver = $3)
        AND ($4::bytea IS NULL OR document_sha256 IN (SELECT approval FROM approval_pairs WHERE release_id = $4))
      ORDER BY document_sha256 LIMIT $5) AS a
CROSS JOIN LATERAL (SELECT count(*) AS pairs, count(spent_at) AS spent FROM approval_pairs WHERE approval = a.document_sha256) AS n
ORDER BY a.document_sha256;

-- pairs: what an approval is for, and what of it is spent
SELECT release_id, sha256, spent_at FROM approval_pairs WHERE approval = $1 ORDER BY release_id, sha256;

-- awaiting: releases of an approval with a request for its bytes that nobody works on
SELECT r.id, r.kind, r.purl, r.file_name FROM releases r
WHERE r.id IN (SELECT p.release_id FROM approval_pairs p JOIN signing_requests q USING (release_id, sha256)
               WHERE p.approval = $1 AND q.state IN ('waiting', 'queued')
                 AND ($2::bytea IS NULL OR p.release_id > $2) ORDER BY p.release_id LIMIT $3)
ORDER BY r.id;

-- waiting: a page of requests that wait for one of some reasons in a tier
SELECT * FROM shown_requests WHERE id IN (
    SELECT id FROM signing_requests
    WHERE state = 'waiting' AND (tier, reason) IN (SELECT * FROM unnest($1::text[], $2::text[]))
      AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT $4)
ORDER BY id;

-- quota_uses: places that are taken, spent and not
SELECT tier, signing_key, period, count(*) FILTER (WHERE spent) AS used, count(*) FILTER (WHERE NOT spent) AS reserved
FROM quota_places WHERE (tier, signing_key, period) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
GROUP BY tier, signing_key, period;

-- backlog: of each tier that has requests or is paused, how many wait in which state, and since when it is paused and why
SELECT coalesce(q.tier, p.tier) AS tier, count(q.id) FILTER (WHERE q.state = 'queued') AS queued,
       count(q.id) FILTER (WHERE q.state = 'waiting') AS waiting, count(q.id) FILTER (WHERE q.state = 'claimed') AS claimed,
       count(q.id) FILTER (WHERE q.state = 'aside') AS aside, p.paused_at, p.paused_by, p.reason
FROM (SELECT id, tier, state FROM signing_requests WHERE state IN ('waiting', 'queued', 'claimed', 'aside')) q
FULL JOIN paused_tiers p ON p.tier = q.tier
GROUP BY coalesce(q.tier, p.tier), p.tier ORDER BY 1;

-- pause: a tier; the first word stands
INSERT INTO paused_tiers (tier, reason, paused_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1;

-- resume: a tier, and let the signers know
WITH resumed AS (DELETE FROM paused_tiers WHERE tier = $1 RETURNING 1)
SELECT pg_notify('attestor_queue', '') FROM resumed;

-- retry_aside: put what a tier has aside back into the queue, with its tries unspent
WITH back AS (
    UPDATE signing_requests SET state = 'queued', reason = 'queued', sentence = 'Put back by the service''s operator.', tries = 0,
        not_before = clock_timestamp(), updated_at = clock_timestamp()
    WHERE state = 'aside' AND tier = $1 RETURNING id, release_id
), noted AS (
    INSERT INTO events (release_id, request_id, what, detail)
    SELECT release_id, id, 'queued', 'Put back by the service''s operator.' FROM back
), told AS (
    SELECT pg_notify('attestor', encode(release_id, 'hex')), pg_notify('attestor_queue', '') FROM back
)
SELECT (SELECT count(*) FROM back) AS back, (SELECT count(*) FROM told) AS told;

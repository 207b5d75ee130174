-- progress: how far the log has come, what of it is published, and since when more could be; how long what it was told last waits, and how much of that could be no entry
SELECT s.size, s.published, (
    SELECT extract(epoch FROM clock_timestamp() - min(c.signed_at))::float8 FROM log_checkpoints c WHERE c.size > s.published
) AS held_seconds, extract(epoch FROM clock_timestamp() - b.oldest)::float8 AS backlog_seconds, b.refused
FROM log_state s, log_backlog b WHERE s.id = 1;

-- held: how many requests wait, were set aside, or were refused (in the last day, and ever), by reason; each by its index
SELECT state, reason, count(*) AS count, 0::bigint AS ever FROM signing_requests WHERE state = 'waiting' GROUP BY state, reason
UNION ALL
SELECT state, reason, count(*) FILTER (WHERE state = 'aside' OR updated_at > clock_timestamp() - interval '1 day'),
       count(*) FILTER (WHERE state = 'refused')
FROM signing_requests WHERE state IN ('refused', 'aside') GROUP BY state, reason
ORDER BY 3 DESC, 1, 2;

-- progress: how far the log has come, what of it is published, and since when more could be; how long what it was told last waits, and how much of that could be no entry
SELECT s.size, s.published, (
    SELECT extract(epoch FROM clock_timestamp() - min(c.signed_at))::float8 FROM log_checkpoints c WHERE c.size > s.published
) AS held_seconds, extract(epoch FROM clock_timestamp() - b.oldest)::float8 AS backlog_seconds, b.refused
FROM log_state s, log_backlog b WHERE s.id = 1;

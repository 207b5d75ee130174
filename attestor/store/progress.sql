-- progress: how far the log has come, what of it is published, and since when more could be
SELECT s.size, s.published, (
    SELECT extract(epoch FROM clock_timestamp() - min(c.signed_at))::float8 FROM log_checkpoints c WHERE c.size > s.published
) AS held_seconds FROM log_state s WHERE s.id = 1;

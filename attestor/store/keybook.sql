-- stands: how the release keys stand
INSERT INTO release_keys (name, fingerprint, certificate, counted, operations, stopped)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::boolean[])
ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, certificate = excluded.certificate,
    counted = excluded.counted, operations = excluded.operations, stopped = excluded.stopped, at = clock_timestamp();

-- canary_clock: when canaries were asked for last, and when the last one of each key was kept
SELECT clock_timestamp() AS now, (SELECT at FROM canary_wanted) AS wanted,
    ARRAY(SELECT ROW (key_fingerprint, max(made_at)) FROM canary_signatures GROUP BY key_fingerprint) AS made;

-- keep_canary: with the last few of its key
WITH kept AS (
    INSERT INTO canary_signatures (key_fingerprint, idx, created, signature) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
)
DELETE FROM canary_signatures WHERE key_fingerprint = $1 AND idx < (
    SELECT idx FROM canary_signatures WHERE key_fingerprint = $1 ORDER BY idx DESC OFFSET $5 - 2 LIMIT 1
);

-- want: somebody wants canaries; says when
INSERT INTO canary_wanted (id, at) VALUES (1, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET at = excluded.at RETURNING at;

-- made_since: the keys, and of those whose last canary was kept after a moment
SELECT name, EXISTS (
    SELECT FROM canary_signatures c WHERE c.key_fingerprint = k.fingerprint AND c.made_at > $1
) AS made FROM release_keys k ORDER BY name;

-- release_keys: how they stand
SELECT name, fingerprint, certificate, counted, operations, stopped, at FROM release_keys ORDER BY name;

-- canaries: the last one of each key
SELECT DISTINCT ON (key_fingerprint) key_fingerprint, idx, created, signature FROM canary_signatures
ORDER BY key_fingerprint, idx DESC;

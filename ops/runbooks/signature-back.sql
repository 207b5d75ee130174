-- Put back a signature that the database lost and somebody still has, as the owner: psql -v entry=INDEX -v sig=HEX (restore-backup.md).
-- Nothing is put back that the log entry does not name by its SHA-256; the signer verifies it again before it is given out.
BEGIN;
CREATE TEMP TABLE back ON COMMIT DROP AS
SELECT s.e, d.e AS decision, decode(:'sig', 'hex') AS signature
FROM (SELECT convert_from(entry, 'UTF8')::jsonb AS e FROM log_entries WHERE idx = :entry AND kind = 'signature') AS s,
LATERAL (SELECT convert_from(entry, 'UTF8')::jsonb AS e FROM log_entries WHERE idx = (s.e ->> 'decision')::bigint) AS d
WHERE s.e ->> 'signature' = encode(sha256(decode(:'sig', 'hex')), 'hex');
SELECT e ->> 'release' AS "put back for the release" FROM back;
INSERT INTO releases (id, kind, purl, file_name)
SELECT decode(e ->> 'release', 'hex'), decision -> 'release' ->> 'kind', decision -> 'release' ->> 'purl', decision -> 'release' ->> 'fileName'
FROM back ON CONFLICT DO NOTHING;
-- The request that it was made for: what shows a signature asks the log by it.
INSERT INTO signing_requests
    (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state, reason, sentence)
SELECT (e ->> 'request')::uuid, decode(e ->> 'release', 'hex'), 'recovered', decision ->> 'tier',
       (decision -> 'artifact' ->> 'size')::bigint, decode(e ->> 'sha256', 'hex'), decode(decision -> 'artifact' ->> 'sha512', 'hex'),
       '{"type":"upload"}', false, 'withdrawn', 'withdrawn', 'This request was lost; its signature was put back.'
FROM back ON CONFLICT (id) DO NOTHING;
INSERT INTO signed_digests SELECT decode(e ->> 'release', 'hex'), decode(e ->> 'sha256', 'hex') FROM back ON CONFLICT DO NOTHING;
INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature)
SELECT decode(e ->> 'release', 'hex'), e ->> 'key', (e ->> 'request')::uuid, decode(e ->> 'sha256', 'hex'), signature FROM back;
COMMIT;

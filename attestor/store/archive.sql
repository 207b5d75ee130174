-- signed: the first signature of a release, or of some bytes of it, that a published checkpoint includes, what was asked, and its entry
SELECT s.signature, s.sha256, q.size, q.sha512, e.idx, e.entry, l.published FROM signatures s
JOIN signing_requests q ON q.id = s.request_id
JOIN log_entries e ON e.subject = s.request_id AND e.kind = 'signature'
JOIN log_state l ON e.idx < l.published
WHERE s.release_id = $1 AND ($2::bytea IS NULL OR s.sha256 = $2) ORDER BY s.stored_at LIMIT 1;

-- entry: one entry of a tree of a size
SELECT entry FROM log_entries WHERE idx = $1 AND idx < $2;

-- documents: what entries name by digest
SELECT sha256, body FROM log_documents WHERE sha256 = ANY($1::bytea[]);

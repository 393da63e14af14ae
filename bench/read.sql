-- What GET /conversations/{id}/ selects: the statement of services/realmate/query/reads.py, for one conversation of those
-- with the numbers 1 to :count, whose ids follow from them as in stored.py.
-- (As two statements, one for each table, it was a fifth slower.)
\set number random(1, :count)
SELECT CAST(conversation.id AS text), source.name, status, CAST(created_at AS text), CAST(updated_at AS text),
    CAST(message.id AS text), kind, content, "timestamp"
FROM conversations AS conversation JOIN sources AS source ON source.id = conversation.source_id
LEFT JOIN messages AS message
    ON conversation_id = conversation.id AND message.source_id = conversation.source_id AND kind <= 2
WHERE conversation.id = CAST(lpad(to_hex(CAST(:number AS bigint) * 2654435761 % 4294967296), 8, '0')
        || '-0000-4000-8000-' || lpad(to_hex(CAST(:number AS bigint)), 12, '0') AS uuid)
    AND status > 0 ORDER BY conversation.id, conversation.source_id, "timestamp", seq;

-- One event in one transaction, as an implementation without batches would do it: the statements of
-- services/realmate/conversations/statements.py for a batch of one, by hand. pgbench runs this script again and again;
-- each client opens a conversation and sends it ten messages (step 1 to 10), then opens the next.
--
-- It is cheaper than Realmate's own in three ways, all in pgbench's favour: the server makes the ids in a statement that
-- is needed anyway, single values stand where Realmate has JSON, and no reply is ever written (due_at is tomorrow: the
-- index has its work, but Realmate's sweep leaves these conversations alone).
--
-- With :pipelined the writes and the commit share a round trip, as Realmate's do; else each statement has its own.
\set step (:step + 1) % 11
BEGIN;
\if :step = 0
-- Lock the conversation, which does not exist yet, and read the clock.
WITH wanted AS MATERIALIZED (SELECT gen_random_uuid() AS id),
locked AS MATERIALIZED (
    SELECT id FROM conversations WHERE id = (SELECT id FROM wanted) FOR UPDATE
)
SELECT wanted.id AS conversation, clock_timestamp() AS now FROM wanted LEFT JOIN locked ON true \gset
\if :pipelined
\startpipeline
\endif
INSERT INTO conversations (id, source_id, status, created_at, updated_at, opened_timestamp, last_seq)
VALUES (CAST(:conversation AS uuid), 0, 1, CAST(:now AS timestamptz), CAST(:now AS timestamptz), now(), 0);
\else
SELECT last_seq + 1 AS seq, gen_random_uuid() AS message, clock_timestamp() AS now
FROM conversations WHERE id = CAST(:conversation AS uuid) FOR UPDATE \gset
\if :pipelined
\startpipeline
\endif
UPDATE conversations
SET status = 1, updated_at = CAST(:now AS timestamptz),
    due_at = coalesce(due_at, CAST(:now AS timestamptz) + interval '1 day'),
    last_seq = CAST(:seq AS integer), group_first_seq = 1, group_last_at = CAST(:now AS timestamptz),
    created_at = coalesce(created_at, CAST(:now AS timestamptz)),
    opened_timestamp = coalesce(opened_timestamp, NULL), closed_timestamp = coalesce(closed_timestamp, NULL)
WHERE id = CAST(:conversation AS uuid) AND source_id = 0;
INSERT INTO messages (id, source_id, conversation_id, seq, kind, "timestamp", arrived_at, content)
VALUES (CAST(:message AS uuid), 0, CAST(:conversation AS uuid), CAST(:seq AS integer), 1, now(), CAST(:now AS timestamptz),
    'Olá, quero alugar um apartamento de dois quartos.');
\endif
-- The idempotency marker that Realmate stores with each batch.
INSERT INTO applied_batches (id, verdicts) VALUES (CAST(gen_random_uuid() AS text), '\x920191a86163636570746564');
COMMIT;
\if :pipelined
\endpipeline
\endif

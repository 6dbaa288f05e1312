-- +goose Up
ALTER TABLE dead_letter_decision ADD COLUMN replaced_by uuid;
CREATE INDEX dead_letter_decision_replaced_by_idx ON dead_letter_decision (replaced_by) WHERE replaced_by IS NOT NULL;
COMMENT ON COLUMN dead_letter_decision.replaced_by IS 'The transaction that took the place of the discarded one; null when none did.';

-- +goose Down
DROP INDEX dead_letter_decision_replaced_by_idx;
ALTER TABLE dead_letter_decision DROP COLUMN replaced_by;

-- +goose Up
-- The sites' roles may fill in the changes of a row that has none, as a large transaction does in the commit that inserts it.
-- That is all: what a transaction has changed is not rewritten. A row that has none for good, as of a logout, can be filled in later.
-- +goose StatementBegin
CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is written once', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER applied_transaction_written_once BEFORE UPDATE OF changes ON applied_transaction FOR EACH ROW
    WHEN (OLD.changes <> '[]'::jsonb) EXECUTE FUNCTION refuse_rewriting();

-- +goose Down
DROP TRIGGER applied_transaction_written_once ON applied_transaction;
DROP FUNCTION refuse_rewriting();

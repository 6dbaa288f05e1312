-- +goose Up
-- The sites' roles may fill in the changes of a large transaction, in the commit that inserts its row without any. That is
-- all: nobody but an owner of the table rewrites what a transaction has changed.
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

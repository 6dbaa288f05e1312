package pending

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/pending/internal/db"
)

// Question is a query that goes to the replica together with the first one of a
// check, and is answered before it; a snapshot that is opened later is asked again.
type Question struct {
	SQL string
	// Values are its parameters, as text.
	Values [][]byte
	// Answer reads the row, if there is one. Its error ends the check.
	Answer func(row pgx.Row) error
}

// checking is the database of a check on the accepting path. Nothing is sent
// before the first query: then the site's row, the Question and that query go out
// together and are answered in one round trip, from one snapshot. They need no
// BEGIN and no COMMIT: up to its Sync a pipeline is one transaction. A check that
// asks more gets a snapshot that stays for all that follows, taken after the view
// like the first, and judged like it.
//
// Its limits are deadlines of the connection, not of a context: watching one costs
// a goroutine a query, and a client that went away would take the connection along.
type checking struct {
	conn     *pgxpool.Conn
	site     []byte
	swept    int64
	question *Question
	limit    time.Duration // of the beginning of the first answer, 0 for none of its own
	until    time.Time     // the end of all others, unless they are patient
	patient  bool
	large    bool // many rows are asked about
	asked    bool
	answered bool  // the first exchange has been
	open     bool  // a transaction is
	failed   error // why nothing more can be asked
}

// errBehind is a snapshot that shows less than the view expects.
var errBehind = errors.New("the snapshot shows less than the view expects")

// beginSnapshot is what every snapshot of several queries begins with.
const beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

// snapshotBatch is the generated query of that name: it is written down in SQL only.
var snapshotBatch = func() string {
	var r textOf
	if _, err := db.New(&r).SnapshotBatch(context.Background(), ""); !errors.Is(err, pgx.ErrNoRows) {
		panic(fmt.Sprintf("recording a query: %v", err))
	}
	return r.sql
}()

// textOf is a DBTX that keeps the text of one query instead of running it.
type textOf struct {
	DBTX
	sql string
}

// QueryRow implements DBTX.
func (t *textOf) QueryRow(_ context.Context, sql string, _ ...any) pgx.Row {
	t.sql = sql
	return failedRow{pgx.ErrNoRows}
}

type failedRow struct{ error }

// Scan implements pgx.Row.
func (r failedRow) Scan(...any) error { return r.error }

// Query implements DBTX.
func (c *checking) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	x, err := c.ask(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return &exchangeRows{pgx.RowsFromResultReader(c.conn.Conn().TypeMap(), x.reader), x}, nil
}

// QueryRow implements DBTX.
func (c *checking) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	x, err := c.ask(ctx, sql, args)
	if err != nil {
		return failedRow{err}
	}
	return x
}

// Exec implements DBTX. A check changes nothing.
func (c *checking) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errors.New("a check only reads")
}

// settle asks what no query has brought along yet.
func (c *checking) settle(ctx context.Context) error {
	if c.asked || c.failed != nil {
		return c.failed
	}
	x, err := c.ask(ctx, "", nil)
	if err == nil {
		err = x.end()
	}
	return err
}

// release gives the connection back. One on which a query failed is closed: it may
// have prepared what no longer fits the schema.
func (c *checking) release() {
	conn := c.conn.Conn()
	var refused *pgconn.PgError
	if err := conn.PgConn().Conn().SetDeadline(time.Time{}); err != nil || c.open || errors.As(c.failed, &refused) {
		release(c.conn, refused != nil)
		return
	}
	c.conn.Release()
}

// ask sends one query, none when sql is empty, and with it what must be known
// before its answer counts. The answer is the exchange's to read.
func (c *checking) ask(ctx context.Context, sql string, args []any) (_ *exchange, err error) {
	if c.failed != nil {
		return nil, c.failed
	}
	defer func() { c.failed = err }()
	conn := c.conn.Conn()
	if err := conn.PgConn().Conn().SetDeadline(c.deadline(ctx)); err != nil {
		return nil, fmt.Errorf("limiting a check: %w", err)
	}
	var query, about *pgconn.StatementDescription
	var encoded pgx.ExtendedQueryBuilder
	if sql != "" {
		// Prepared once a connection.
		if query, err = conn.Prepare(ctx, sql, sql); err != nil {
			return nil, err
		}
		if err := encoded.Build(conn.TypeMap(), query, args); err != nil {
			return nil, fmt.Errorf("encoding the parameters of a check: %w", err)
		}
	}
	head, err := conn.Prepare(ctx, snapshotBatch, snapshotBatch)
	if err != nil {
		return nil, err
	}
	if c.question != nil {
		if about, err = conn.Prepare(ctx, c.question.SQL, c.question.SQL); err != nil {
			return nil, err
		}
	}

	first, begins := !c.asked, c.asked && !c.open
	x := &exchange{check: c, pipeline: conn.PgConn().StartPipeline(context.Background())}
	if begins {
		x.pipeline.SendQueryParams(beginSnapshot, nil, nil, nil, nil)
	}
	if first || begins {
		x.pipeline.SendQueryPrepared(head.Name, [][]byte{c.site}, nil, binaryResult)
	}
	if first && c.large {
		x.pipeline.SendFlushRequest() // that the replica answers shall be seen before it has put a large answer together
	}
	if (first || begins) && about != nil {
		x.pipeline.SendQueryPrepared(about.Name, c.question.Values, nil, nil)
	}
	if query != nil {
		x.pipeline.SendQueryPrepared(query.Name, encoded.ParamValues, encoded.ParamFormats, encoded.ResultFormats)
	}
	if err := x.pipeline.Sync(); err != nil {
		return nil, fmt.Errorf("asking the replica: %w", err)
	}
	c.asked, c.open = true, begins || c.open
	if err := x.precede(ctx, first, begins); err != nil {
		return nil, errors.Join(err, x.end())
	}
	if query == nil {
		return x, nil
	}
	return x, x.next()
}

var binaryResult = []int16{pgtype.BinaryFormatCode}

// deadline is how long the next exchange may take: the first, until the replica has begun to answer it, and all others.
func (c *checking) deadline(ctx context.Context) time.Time {
	if !c.asked && c.limit != 0 {
		return time.Now().Add(c.limit)
	}
	return c.rest(ctx)
}

// rest is when the check ends.
func (c *checking) rest(ctx context.Context) time.Time {
	if !c.patient {
		return c.until
	}
	until, _ := ctx.Deadline() // none is the zero time, which is no limit
	return until
}

// exchange is one round trip. As a pgx.Row it is the one row of its query.
type exchange struct {
	check    *checking
	pipeline *pgconn.Pipeline
	reader   *pgconn.ResultReader
}

// precede reads what comes before the answer to the query.
func (x *exchange) precede(ctx context.Context, first, begins bool) error {
	if begins {
		if err := x.next(); err != nil {
			return err
		}
	}
	if first || begins {
		if err := x.next(); err != nil {
			return err
		}
		batch := int64(0)
		if x.reader.NextRow() {
			batch = int64(binary.BigEndian.Uint64(x.reader.Values()[0]))
		}
		if _, err := x.reader.Close(); err != nil {
			return err
		}
		// It answers, if only by and by: what was found for the question may be large.
		if first {
			x.check.answered = true
			if err := x.check.conn.Conn().PgConn().Conn().SetDeadline(x.check.rest(ctx)); err != nil {
				return fmt.Errorf("limiting a check: %w", err)
			}
		}
		if batch < x.check.swept {
			return errBehind
		}
	}
	if !(first || begins) || x.check.question == nil {
		return nil
	}
	if err := x.next(); err != nil {
		return err
	}
	if x.reader.NextRow() {
		if err := x.check.question.Answer(currentRow{x}); err != nil {
			return err
		}
	}
	_, err := x.reader.Close()
	return err
}

// next goes on to the answer to the next statement.
func (x *exchange) next() error {
	result, err := x.pipeline.GetResults()
	if err != nil {
		return err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("reading an answer of the replica: unexpected %T", result)
	}
	x.reader = reader
	return nil
}

// end reads to the end of the exchange.
func (x *exchange) end() error {
	var err error
	if x.reader != nil {
		_, err = x.reader.Close()
	}
	err = errors.Join(err, x.pipeline.Close())
	if err != nil && x.check.failed == nil {
		x.check.failed = err
	}
	return err
}

// Scan implements pgx.Row.
func (x *exchange) Scan(dest ...any) error {
	err := pgx.ErrNoRows
	if x.reader.NextRow() {
		err = currentRow{x}.Scan(dest...)
	}
	if ended := x.end(); ended != nil {
		return ended
	}
	return err
}

// currentRow is the row that the reader is at.
type currentRow struct{ *exchange }

// Scan implements pgx.Row.
func (r currentRow) Scan(dest ...any) error {
	return pgx.ScanRow(r.check.conn.Conn().TypeMap(), r.reader.FieldDescriptions(), r.reader.Values(), dest...)
}

// exchangeRows are the rows of a query; closing them ends the exchange.
type exchangeRows struct {
	pgx.Rows
	exchange *exchange
}

// Close implements pgx.Rows.
func (r *exchangeRows) Close() {
	r.Rows.Close()
	if r.exchange != nil {
		// What the query itself met is in Err; what ended the connection after it is
		// met by whoever asks next.
		_ = r.exchange.end()
		r.exchange = nil
	}
}

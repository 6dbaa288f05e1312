package txn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// sliceBytes bounds one message to the primary: at 256 kbit/s it takes two
// seconds, far below the time after which main ends a processor that is stuck.
const sliceBytes = 64 << 10

// statements are what one connection has prepared, by their text.
type statements struct {
	types  *pgtype.Map
	byText map[string]*pgconn.StatementDescription
}

// message is one prepared statement with its encoded parameters.
type message struct {
	name    string
	values  [][]byte
	formats []int16
}

func (m message) size() int {
	n := 64
	for _, v := range m.values {
		n += len(v) + 6
	}
	return n
}

// encoded is a transaction ready to be sent: the ledger's row first, then its
// steps, then what completes the ledger's row.
type encoded struct {
	messages []message
	steps    []*kind // the step each message belongs to; nil: the ledger
	bytes    int
}

func (e *encoded) add(m message, k *kind) {
	e.messages = append(e.messages, m)
	e.steps = append(e.steps, k)
	e.bytes += m.size()
}

// texts lists every statement that a connection needs.
func (c *Catalog) texts() []string {
	texts := make([]string, 0, len(c.names)+len(own)+len(control))
	texts = append(texts, own...)
	texts = append(texts, control...)
	for _, name := range c.names {
		texts = append(texts, c.kinds[name].sql)
	}
	return texts
}

// own are the statements of this package itself, recorded from the generated
// methods so that they are written down in SQL only.
var own = func() []string {
	ctx := context.Background()
	var r recorder
	q := db.New(&r)
	for _, err := range []error{
		q.InsertLedgerEntry(ctx, db.InsertLedgerEntryParams{}),
		q.KeepLedgerSlice(ctx, db.KeepLedgerSliceParams{}),
		q.CompleteLedgerEntry(ctx, db.CompleteLedgerEntryParams{}),
		q.LiftBatch(ctx, db.LiftBatchParams{}),
		q.LiftLastSeq(ctx, db.LiftLastSeqParams{}),
		q.RequireEarlier(ctx, db.RequireEarlierParams{}),
		q.Heartbeat(ctx, db.HeartbeatParams{}),
	} {
		if err != nil {
			panic(fmt.Sprintf("recording a statement of the ledger: %v", err))
		}
	}
	if _, err := q.GetFlushPosition(ctx); !errors.Is(err, errReads) {
		panic(fmt.Sprintf("recording a statement of the ledger: %v", err))
	}
	texts := make([]string, len(r.calls))
	for i, c := range r.calls {
		texts[i] = c.sql
	}
	return texts
}()

// sendPrepare queues the preparation of texts.
func sendPrepare(p *pgconn.Pipeline, texts []string) {
	for i, text := range texts {
		p.SendPrepare("opsdb_"+strconv.Itoa(i), text, nil)
	}
}

// readPrepared reads the answers to sendPrepare.
func readPrepared(p *pgconn.Pipeline, texts []string, types *pgtype.Map) (*statements, error) {
	s := &statements{types: types, byText: make(map[string]*pgconn.StatementDescription, len(texts))}
	for i, text := range texts {
		result, err := p.GetResults()
		if err != nil {
			return nil, fmt.Errorf("preparing statements: %w", err)
		}
		sd, ok := result.(*pgconn.StatementDescription)
		if !ok {
			return nil, fmt.Errorf("preparing statements: unexpected answer %T", result)
		}
		sd.Name, sd.SQL = "opsdb_"+strconv.Itoa(i), text
		s.byText[text] = sd
	}
	return s, nil
}

// message encodes the parameters of a recorded statement.
func (s *statements) message(c call) (message, error) {
	sd, ok := s.byText[c.sql]
	if !ok {
		return message{}, fmt.Errorf("encoding a statement: it is not prepared: %.60q", c.sql)
	}
	var b pgx.ExtendedQueryBuilder
	if err := b.Build(s.types, sd, c.args); err != nil {
		return message{}, &valueError{err}
	}
	return message{name: sd.Name, values: b.ParamValues, formats: b.ParamFormats}, nil
}

// of encodes the one statement that run makes of generated code.
func (s *statements) of(run func(q *db.Queries) error) (message, error) {
	c, err := recordQuery(run)
	if err != nil {
		return message{}, err
	}
	return s.message(c)
}

// valueError says that a value does not fit its column, noticed before it was
// sent. It means the same as an error of class 22 from the primary.
type valueError struct{ err error }

func (e *valueError) Error() string { return "encoding parameters: " + e.err.Error() }
func (e *valueError) Unwrap() error { return e.err }

// encode makes the messages of a transaction. seq is null for a direct write.
func (s *statements) encode(ctx context.Context, catalog *Catalog, tx *pending.Transaction, seq *int64, appliedAt time.Time) (*encoded, error) {
	e := &encoded{}
	var changes []pending.Change
	var steps []message
	var kinds []*kind
	for _, stored := range tx.Steps {
		step, err := catalog.Decode(stored)
		if err != nil {
			return nil, err
		}
		changes = append(changes, step.Rows()...)
		k := catalog.kinds[stored.Kind]
		// What a refusal means can depend on the step's values: one that expects a
		// version means another than one that expects a state.
		if r, ok := step.(Refuser); ok && r.Refusal() != k.refusal {
			own := *k
			own.refusal, k = r.Refusal(), &own
		}
		pieces := []Step{step}
		if slicer, ok := step.(Slicer); ok && len(stored.Data) > sliceBytes {
			pieces = slicer.Slices(sliceBytes)
		}
		for _, piece := range pieces {
			c, err := record(ctx, piece)
			if err != nil {
				return nil, fmt.Errorf("encoding step %q: %w", stored.Kind, err)
			}
			m, err := s.message(c)
			if err != nil {
				return nil, fmt.Errorf("encoding step %q: %w", stored.Kind, err)
			}
			steps, kinds = append(steps, m), append(kinds, k)
		}
	}
	entries, err := encodeEntries(changes, sliceBytes)
	if err != nil {
		return nil, err
	}
	row := db.InsertLedgerEntryParams{
		ID: tx.ID, Site: tx.Site, Seq: seq, Operation: tx.Operation, Actor: tx.Actor,
		IdempotencyKey: tx.IdempotencyKey, RequestDigest: tx.RequestDigest,
		AcceptedAt: tx.AcceptedAt, AppliedAt: appliedAt, Changes: []byte("[]"),
	}
	if len(entries) == 1 {
		row.Changes = []byte(entries[0])
	}
	m, err := s.of(func(q *db.Queries) error { return q.InsertLedgerEntry(ctx, row) })
	if err != nil {
		return nil, fmt.Errorf("encoding the ledger's row: %w", err)
	}
	e.add(m, nil)
	for i, m := range steps {
		e.add(m, kinds[i])
	}
	if len(entries) == 1 {
		return e, nil
	}
	// The changes of a large transaction travel as slices that the session puts
	// together: appending to the row itself would rewrite it once a slice.
	for i, piece := range entries {
		m, err := s.of(func(q *db.Queries) error {
			return q.KeepLedgerSlice(ctx, db.KeepLedgerSliceParams{N: int32(i + 1), Slice: piece})
		})
		if err != nil {
			return nil, fmt.Errorf("encoding the ledger's row: %w", err)
		}
		e.add(m, nil)
	}
	m, err = s.of(func(q *db.Queries) error {
		return q.CompleteLedgerEntry(ctx, db.CompleteLedgerEntryParams{ID: tx.ID, Slices: int32(len(entries))})
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the ledger's row: %w", err)
	}
	e.add(m, nil)
	return e, nil
}

func send(p *pgconn.Pipeline, m message) {
	p.SendQueryPrepared(m.name, m.values, m.formats, nil)
}

// sendUnprepared queues a statement that is run once a connection, its
// parameters as text.
func sendUnprepared(p *pgconn.Pipeline, c call) error {
	values := make([][]byte, len(c.args))
	for i, arg := range c.args {
		switch v := arg.(type) {
		case string:
			values[i] = []byte(v)
		case int64:
			values[i] = strconv.AppendInt(nil, v, 10)
		case []uuid.UUID:
			values[i] = []byte(uuidArray(v))
		default:
			return fmt.Errorf("sending a statement: no text form for a parameter of type %T", arg)
		}
	}
	p.SendQueryParams(c.sql, values, nil, nil, nil)
	return nil
}

// sendControl queues a statement of transaction control. It has neither
// parameters nor rows.
func sendControl(p *pgconn.Pipeline, sql string) { p.SendQueryParams(sql, nil, nil, nil, nil) }

// uuidArray is the text form of a uuid[].
func uuidArray(ids []uuid.UUID) string {
	b := make([]byte, 0, 37*len(ids)+2)
	b = append(b, '{')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, id.String()...)
	}
	return string(append(b, '}'))
}

// readRows reads the answer to one statement to its end, its rows as text. The
// error of a statement that returns rows comes from its reader, not from
// GetResults; left unread, it would name the next transaction.
func readRows(p *pgconn.Pipeline) (pgconn.CommandTag, [][]string, error) {
	result, err := p.GetResults()
	if err != nil {
		return pgconn.CommandTag{}, nil, err
	}
	reader, ok := result.(*pgconn.ResultReader)
	if !ok {
		return pgconn.CommandTag{}, nil, fmt.Errorf("reading an answer: unexpected %T", result)
	}
	var rows [][]string
	for reader.NextRow() {
		values := reader.Values()
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	tag, err := reader.Close()
	return tag, rows, err
}

// readSegment reads the answers to n statements and the Sync after them. After
// an error the server skips to the Sync; failed is the index of the statement
// that failed, -1 for none. lost is an error of the connection: nothing after it
// is known.
func readSegment(p *pgconn.Pipeline, n int) (tag pgconn.CommandTag, rows [][]string, failed int, err, lost error) {
	failed = -1
	for i := range n {
		tag, rows, err = readRows(p)
		if err == nil {
			continue
		}
		var answer *pgconn.PgError
		if !errors.As(err, &answer) {
			return tag, rows, i, err, err
		}
		failed = i
		break
	}
	result, syncErr := p.GetResults()
	if syncErr != nil {
		return tag, rows, failed, err, fmt.Errorf("reading an answer: %w", syncErr)
	}
	if _, ok := result.(*pgconn.PipelineSync); !ok {
		return tag, rows, failed, err, fmt.Errorf("reading an answer: unexpected %T instead of the end of a segment", result)
	}
	return tag, rows, failed, err, nil
}

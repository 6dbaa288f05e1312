package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

const (
	tableAudit = "audit_event"
	// auditOperation is what the ledger calls a transaction that records an event.
	auditOperation = "record-audit-event"
	// auditReserve is how many more transactions a full buffer takes for the sake of the audit log.
	auditReserve = 10_000
	// auditTries bounds how often an event is chained anew since another process was faster.
	auditTries = 10
	// auditPatience bounds what a request may spend on its audit event.
	auditPatience = 10 * time.Second
	// auditTurn bounds how long an event waits for others of its process. The chain does not
	// need that it waits: see Log.
	auditTurn = time.Second
	// chainBegins is in the place of the hash before where that is not known; the event's own id makes it unique.
	chainBegins = "unknown:"
	// maxAuditDetail bounds what an event tells, in bytes of JSON.
	maxAuditDetail = 8 << 10
)

// Tables declares the tables of this module that have pending rows at a secondary site.
func Tables() []pending.Table { return []pending.Table{{Name: tableAudit, Time: "at"}} }

// RecordEvent appends an event to the audit log of a site.
type RecordEvent db.InsertAuditEventParams

// Kind implements txn.Step.
func (RecordEvent) Kind() string { return "audit.record/1" }

// ReadBy implements txn.Confidential: what waits for main is the audit log, too.
func (RecordEvent) ReadBy() string { return "read:audit" }

// Apply implements txn.Step.
func (s RecordEvent) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).InsertAuditEvent(ctx, db.InsertAuditEventParams(s))
}

// Rows implements txn.Step.
func (s RecordEvent) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableAudit, s.ID, s)}
}

// digest is the hash of an event: of all its columns but the hash, and so, by the hash of the event before, of all that
// came before it. The form is frozen.
func (s RecordEvent) digest() (string, error) {
	detail, err := canonical(s.Detail)
	if err != nil {
		return "", err
	}
	document, err := json.Marshal(struct {
		ID        uuid.UUID       `json:"id"`
		At        string          `json:"at"`
		Site      string          `json:"site"`
		UserID    *int64          `json:"user_id"`
		TokenID   *int64          `json:"token_id"`
		Action    string          `json:"action"`
		TableName string          `json:"table_name"`
		RowID     string          `json:"row_id"`
		Detail    json.RawMessage `json:"detail"`
		RequestID string          `json:"request_id"`
		PrevHash  string          `json:"prev_hash"`
		CreatedAt string          `json:"created_at"`
	}{
		s.ID, s.At.UTC().Format(time.RFC3339Nano), s.Site, s.UserID, s.TokenID, s.Action, s.TableName, s.RowID, detail, s.RequestID, s.PrevHash,
		s.CreatedAt.UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		return "", fmt.Errorf("hashing an audit event: %w", err)
	}
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:]), nil
}

// canonical writes JSON in one way, whatever jsonb has made of its spaces and the order of its members.
func canonical(data json.RawMessage) (json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading the detail of an audit event: %w", err)
	}
	return json.Marshal(value)
}

// LogConfig is what a Log works with.
type LogConfig struct {
	// Writer carries events out: on the primary at main, through the buffer at a secondary site, where they must be
	// kept with the link cut.
	Writer txn.Writer
	// Joint says that Writer writes to the primary: an event is then one more step of the
	// transaction that it tells of.
	Joint bool
	Site  string
	// Capacity is that of the site's buffer, 0 at main. Events get into a full one, but not without end.
	Capacity int
	Logger   *slog.Logger
}

// Log is the Recorder of a site. Its events are a chain: each holds the hash of the one before, so that none can be
// changed or taken out unseen. Several processes of a site append to the one chain: at a secondary site an event is
// accepted only if no other was since the one it follows was looked up, at main the primary refuses a second one that
// follows the same; either way it is chained anew.
type Log struct {
	config  LogConfig
	turn    chan struct{} // spares the processes of a site racing with themselves
	refused refusals      // of permissions and of guesses
}

// NewLog returns a Log.
func NewLog(config LogConfig) *Log { return &Log{config: config, turn: make(chan struct{}, 1)} }

// Joint implements Recorder.
func (l *Log) Joint() bool { return l.config.Joint }

// Record implements Recorder.
func (l *Log) Record(ctx context.Context, e Event) {
	request := txn.Request{Operation: auditOperation, Actor: "site:" + l.config.Site}
	if p, ok := api.PrincipalFrom(ctx); ok {
		request.Actor = p.Actor()
	}
	e = by(ctx, e)
	request.UserID = e.UserID
	// What has been done is recorded although its client may be gone.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	_, err := l.chained(bounded, l.config.Writer, request, func(ctx context.Context, tx *txn.Builder) error { return l.append(ctx, tx, e) })
	if err != nil {
		l.config.Logger.ErrorContext(ctx, "an audit event is not recorded", "action", e.Action, "table", e.Table, "row", e.Row, "detail", e.Detail, "error", err)
	}
}

// Write implements Recorder. The event is the last step: whoever waits at the primary for another event that follows the
// same one then has all its locks, so that no two transactions wait for each other.
func (l *Log) Write(ctx context.Context, to txn.Writer, request txn.Request, event func() Event, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	if !l.config.Joint {
		return to.Write(ctx, request, build)
	}
	receipt, err := l.chained(ctx, to, request, func(ctx context.Context, tx *txn.Builder) error {
		if err := build(ctx, tx); err != nil {
			return err
		}
		return l.append(ctx, tx, by(ctx, event()))
	})
	if errors.Is(err, EventFollowed) {
		return receipt, problem.DatabaseBusy.New("too many events of the audit log at once")
	}
	return receipt, err
}

// chained writes a transaction with an event, anew as often as another process was faster.
func (l *Log) chained(ctx context.Context, to txn.Writer, request txn.Request, build func(ctx context.Context, tx *txn.Builder) error) (receipt txn.Receipt, err error) {
	waiting := time.NewTimer(auditTurn)
	defer waiting.Stop()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-waiting.C:
	case <-ctx.Done():
	}
	for try := range auditTries {
		receipt, err = to.Write(ctx, request, build)
		if !errors.Is(err, EventFollowed) {
			break
		}
		select {
		case <-time.After(time.Duration(try+1) * rand.N(20*time.Millisecond)):
		case <-ctx.Done():
			return receipt, err
		}
	}
	return receipt, err
}

// by is an event with who sent the request, where it does not say who did it.
func by(ctx context.Context, e Event) Event {
	if p, ok := api.PrincipalFrom(ctx); ok {
		if e.UserID == nil && p.UserID != 0 {
			e.UserID = &p.UserID
		}
		if e.TokenID == nil && p.TokenID != 0 {
			e.TokenID = &p.TokenID
		}
	}
	return e
}

// append adds an event to a transaction.
func (l *Log) append(ctx context.Context, tx *txn.Builder, e Event) error {
	step, err := l.next(ctx, tx, e, api.RequestID(ctx))
	if err == nil {
		tx.Add(step)
	}
	return err
}

// Refused tells of an operation that the principal of a request may not call, if it is one that manages or configures something,
// reads the audit log or makes tokens: whoever tries these is worth noting. A process records maxRefusals of each user a minute.
func (l *Log) Refused(ctx context.Context, operation, permission string) {
	if permission != api.LoggedIn && permission != "read:audit" && !strings.HasPrefix(permission, "manage:") && !strings.HasPrefix(permission, "configure:") {
		return
	}
	p, _ := api.PrincipalFrom(ctx)
	l.noteworthy(ctx, "permission.refused", p.Username, map[string]any{"operation": operation, "permission": permission})
}

// Guessing tells of an address that has sent more well-formed secrets that nobody has than it may. A process records
// maxRefusals of each address a minute.
func (l *Log) Guessing(ctx context.Context, address string) {
	l.noteworthy(ctx, "credential.guessing", address, map[string]any{"address": address})
}

// noteworthy records what anybody may cause, as often as there is a budget for it.
func (l *Log) noteworthy(ctx context.Context, action, actor string, detail map[string]any) {
	admitted, before := l.refused.admit(action, actor, time.Now())
	if !admitted {
		return
	}
	if before > 0 {
		detail["not_recorded_before"] = before
	}
	l.Record(ctx, Event{Action: action, Detail: detail})
}

// next makes the event that follows the newest one of the site.
func (l *Log) next(ctx context.Context, tx *txn.Builder, e Event, requestID string) (RecordEvent, error) {
	// What was accepted since the view was taken is noticed, and the event chained anew.
	tx.Guard(tableAudit)
	if c := tx.Pending().Counts(); l.config.Capacity == 0 || c.Buffered+c.Failed+c.Blocked < l.config.Capacity+auditReserve {
		tx.Exempt()
	}
	last, known, err := l.last(ctx, tx)
	if err != nil {
		return RecordEvent{}, err
	}
	detail := map[string]any{}
	for name, value := range e.Detail {
		detail[name] = storable(value)
	}
	id := tx.NewID()
	if !known {
		last.Hash = chainBegins + id.String()
		detail["chain"] = "begins anew: the database could not be read and no event was pending, so the one before this is not known"
	}
	document, err := json.Marshal(detail)
	if err != nil {
		return RecordEvent{}, fmt.Errorf("writing the detail of an audit event: %w", err)
	}
	if len(document) > maxAuditDetail {
		document = json.RawMessage(`{"cut":true}`)
	}
	at := tx.Now()
	if !at.After(last.At) {
		// The order of the chain is that of its times, whatever the clocks of the processes say.
		at = last.At.UTC().Add(time.Microsecond)
	}
	step := RecordEvent{
		ID: id, At: at, Site: l.config.Site, UserID: e.UserID, TokenID: e.TokenID, Action: e.Action, TableName: e.Table, RowID: e.Row, Detail: document,
		RequestID: requestID, PrevHash: last.Hash, CreatedAt: tx.Now(),
	}
	step.Hash, err = step.digest()
	return step, err
}

// last finds the newest event of the site, among what is pending and in the database. known is false when nothing is
// pending and the database cannot be read: then a chain of its own begins.
func (l *Log) last(ctx context.Context, tx *txn.Builder) (last db.GetAuditHeadRow, known bool, err error) {
	for _, row := range tx.Pending().Created(tableAudit, pending.Page{Limit: 100}) {
		// One that main has refused is in no chain.
		if row.Newest != nil && row.Newest.State.Dead() {
			continue
		}
		if err := json.Unmarshal(row.Columns, &last); err != nil {
			return last, false, fmt.Errorf("reading a pending audit event: %w", err)
		}
		known = true
		break
	}
	err = tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := db.New(s.DB).GetAuditHead(ctx, l.config.Site)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return fmt.Errorf("reading the newest audit event: %w", err)
		case row.At.After(last.At):
			last = row
		}
		known = true
		return nil
	})
	return last, known, err
}

// storable is a value without what jsonb refuses.
func storable(value any) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(strings.ToValidUTF8(v, "\uFFFD"), "\x00", "")
	case *string:
		if v == nil {
			return nil
		}
		return storable(*v)
	case []string:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = storable(item)
		}
		return out
	}
	return value
}

// EventFollowed is what it means that another event follows the same one: another process was faster. As a dead letter it
// says that this site's Redis was lost, and with it what its chain had come to.
var EventFollowed = &problem.Kind{Code: "audit-event-followed", Status: 409, Title: "Another event of the audit log follows the same one",
	Doc: "Each event of a site's audit log follows the one before. Two that follow the same one come about when the site's Redis was lost: discard this one; the decision keeps all that it says, and the next event follows the newest one at main."}

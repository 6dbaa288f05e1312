package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// The statements of transaction control, prepared like all others. ROLLBACK TO
// is harmless after a transaction that succeeded: its savepoint is a new one.
const (
	begin      = "BEGIN"
	savepoint  = "SAVEPOINT s"
	release    = "RELEASE SAVEPOINT s"
	rollbackTo = "ROLLBACK TO SAVEPOINT s"
	commit     = "COMMIT"
)

var control = []string{begin, savepoint, release, rollbackTo, commit}

// Item is one transaction made ready for a flush.
type Item struct {
	Seq int64
	ID  uuid.UUID
	// Earlier are the transactions of the same flush that this one depends on. It
	// is applied only if the ledger has all of them by then.
	Earlier []uuid.UUID

	encoded *encoded
}

// Bytes is what the item needs on the line, about.
func (i *Item) Bytes() int { return i.encoded.bytes }

// Large says that the item has several messages, each with an answer of its own: see
// sendGroup.
func (i *Item) Large() bool { return i.encoded.bytes > sliceBytes }

// Outcome is what became of one transaction of a flush.
type Outcome int

// The outcomes. Only the first three say that the transaction is done with for
// now; they hold if its group was committed.
const (
	// Again: an error that the next try may not meet, or that is not this
	// transaction's: it stays buffered.
	Again Outcome = iota
	// Applied: it was applied, now or by an earlier flush whose answer was lost.
	Applied
	// Discarded: the ledger says that an operator has discarded it.
	Discarded
	// Refused: its own data made it fail.
	Refused
	// Postponed: an earlier one of the flush that it depends on was not applied.
	Postponed
)

// Answer is what the primary said about one item.
type Answer struct {
	Seq     int64
	Outcome Outcome
	// Problem is set when Refused: what a dead letter shows.
	Problem *problem.Problem
	// Err is the error behind Again and Refused.
	Err error
	// Found says of Applied and Discarded that the ledger had the transaction already.
	Found bool

	id uuid.UUID
}

// found says that the ledger seems to have the transaction already.
func (a *Answer) found() bool {
	var pg *pgconn.PgError
	return errors.As(a.Err, &pg) && pg.Code == "23505" && (pg.ConstraintName == LedgerKey || pg.ConstraintName == IdempotencyKey)
}

// GroupAnswer is what the primary said about one commit.
type GroupAnswer struct {
	// Committed is true only if the head answered and the commit's own tag was
	// COMMIT. Without it nothing is known about the items.
	Committed bool
	// Position is the commit's number.
	Position int64
	// LSN is how far the primary's log was on disk after the commit, empty when that
	// answer was lost.
	LSN   string
	Items []Answer
}

func (g *GroupAnswer) found() bool {
	for i := range g.Items {
		if g.Items[i].found() {
			return true
		}
	}
	return false
}

// errRolledBack is a COMMIT that answered ROLLBACK: PostgreSQL does so, without
// an error, when something in the transaction had failed.
var errRolledBack = errors.New("the primary rolled the group back at its commit")

// Prepare makes a transaction ready to be sent. Errors: pending.ErrUnknownKind,
// when this program is too old for it; a *problem.Problem, when a value cannot be
// sent at all (it becomes a dead letter like one the primary refuses); any other
// error is a fault of this program.
func (l *Link) Prepare(ctx context.Context, tx *pending.Transaction) (*Item, error) {
	seq := tx.Seq
	e, err := l.ready.encode(ctx, l.catalog, tx, &seq, newNow(l.config.Clock))
	var value *valueError
	if errors.As(err, &value) {
		return nil, problem.InvalidValue.New("a value cannot be sent to the primary: %s", value.err)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing transaction %s: %w", tx.ID, err)
	}
	return &Item{Seq: tx.Seq, ID: tx.ID, encoded: e}, nil
}

// Flush sends groups of items in one round trip, each group one commit with the
// number first, first+1, and so on. The numbers must be above every number ever
// sent, and stored as such, before Flush is called. A group is sent as soon as
// groups gives it, so that making the next one ready costs no time; bytes is about
// what they are together.
//
// heard is told of committed groups in their order, each as soon as its answer has
// come, so that the first need not wait for the last; what the ledger had already is
// looked up at the end, and groups from there on wait for it. An error of heard ends
// the flush.
//
// An error means that nothing is known about the groups that heard was not told of,
// and that the link must be closed: a lost connection, a deadline, or a head that was
// refused because another processor has claimed the site (SQLSTATE OP002).
func (l *Link) Flush(ctx context.Context, first int64, groups iter.Seq[[]*Item], bytes int, heard func([]GroupAnswer) error) error {
	bounded, cancel := context.WithTimeout(ctx, l.patience(bytes))
	defer cancel()
	p := l.conn.StartPipeline(bounded)
	var sent [][]*Item
	for group := range groups {
		previous, number := l.batch, first+int64(len(sent))
		if len(sent) > 0 {
			previous = number - 1
		}
		if err := l.sendNumbered(ctx, p, previous, number, group); err != nil {
			return err
		}
		sent = append(sent, group)
	}
	waiting, err := l.readFlush(p, first, sent, heard)
	if err == nil {
		if err = p.Close(); err != nil {
			err = fmt.Errorf("ending a flush: %w", err)
		}
	}
	if len(waiting) == 0 {
		return err
	}
	if err == nil {
		err = l.resolveFound(bounded, waiting)
	}
	if err != nil {
		// Not even those that come after what was found: once they had replicated and
		// left the pending rows, what was found would still be there, and would hide
		// their rows behind older ones.
		return err
	}
	return heard(waiting)
}

// patience is how long an exchange of that many bytes may take.
func (l *Link) patience(bytes int) time.Duration {
	return l.config.Patience + time.Duration(bytes)*time.Second/time.Duration(l.config.SlowestRate)
}

// sendNumbered sends one commit of this site, and asks for the primary's position
// after it.
func (l *Link) sendNumbered(ctx context.Context, p *pgconn.Pipeline, previous, number int64, group []*Item) error {
	lastSeq, now := int64(0), newNow(l.config.Clock)
	for _, item := range group {
		lastSeq = max(lastSeq, item.Seq)
	}
	head, err := l.ready.of(func(q *db.Queries) error {
		return q.LiftBatch(ctx, db.LiftBatchParams{
			Batch: number, LastSeq: lastSeq, LastAppliedAt: &now, Site: l.config.Site, Epoch: l.epoch, PreviousBatch: previous,
		})
	})
	if err != nil {
		return fmt.Errorf("encoding the head of a group: %w", err)
	}
	if err := l.sendGroup(ctx, p, head, group); err != nil {
		return err
	}
	position, err := l.ready.of(func(q *db.Queries) error { _, err := q.GetFlushPosition(ctx); return err })
	if err != nil {
		return fmt.Errorf("encoding the question for the primary's position: %w", err)
	}
	send(p, position)
	p.SendPipelineSync()
	if err := p.Flush(); err != nil {
		return fmt.Errorf("sending a flush: %w", err)
	}
	return nil
}

// sendGroup queues one commit: the head, then each item with a savepoint of its own.
func (l *Link) sendGroup(ctx context.Context, p *pgconn.Pipeline, head message, group []*Item) error {
	l.control(p, begin)
	send(p, head)
	l.control(p, savepoint)
	p.SendPipelineSync()
	for i, item := range group {
		if i > 0 {
			l.control(p, rollbackTo)
		}
		if len(item.Earlier) > 0 {
			guard, err := l.ready.of(func(q *db.Queries) error {
				return q.RequireEarlier(ctx, db.RequireEarlierParams{Expected: int64(len(item.Earlier)), Ids: item.Earlier})
			})
			if err != nil {
				return fmt.Errorf("encoding the guard of transaction %s: %w", item.ID, err)
			}
			send(p, guard)
		}
		for k, m := range item.encoded.messages {
			send(p, m)
			// After an error the server skips what follows up to the next Sync and looks
			// all the while like one whose client is gone: main would end it before a
			// large transaction has gone through a slow line, every time it is sent. In
			// segments of its own each message shows that the line lives.
			if item.Large() && k < len(item.encoded.messages)-1 {
				p.SendPipelineSync()
			}
		}
		l.control(p, release)
		l.control(p, savepoint)
		p.SendPipelineSync()
	}
	l.control(p, rollbackTo)
	p.SendPipelineSync()
	// In a segment of its own: it must end the transaction even when the ROLLBACK
	// TO before it failed.
	l.control(p, commit)
	p.SendPipelineSync()
	return nil
}

func (l *Link) control(p *pgconn.Pipeline, sql string) {
	send(p, message{name: l.ready.byText[sql].Name})
}

// readFlush reads the answers to what was sent, and tells heard of each committed
// group until one has transactions that the ledger had already: it and those after it
// are returned.
func (l *Link) readFlush(p *pgconn.Pipeline, first int64, sent [][]*Item, heard func([]GroupAnswer) error) (waiting []GroupAnswer, err error) {
	for n, group := range sent {
		g, err := l.readGroup(p, group)
		g.Position = first + int64(n)
		if err != nil {
			return waiting, fmt.Errorf("reading the answer to commit %d: %w", g.Position, err)
		}
		l.batch = g.Position
		lost := readPosition(p, &g)
		if len(waiting) > 0 || g.found() {
			waiting = append(waiting, g)
		} else if err := heard([]GroupAnswer{g}); err != nil {
			return nil, errors.Join(lost, err)
		}
		if lost != nil {
			return waiting, fmt.Errorf("reading the primary's position: %w", lost)
		}
	}
	return waiting, nil
}

// readPosition reads where the primary's log stood after a group. Without it the
// transactions are applied all the same; the site's number says when they have come
// back.
func readPosition(p *pgconn.Pipeline, g *GroupAnswer) (lost error) {
	_, rows, _, err, lost := readSegment(p, 1)
	if err != nil || lost != nil {
		return lost
	}
	if at, err := positionOf(rows); err == nil {
		g.LSN = at.LSN.String()
	}
	return nil
}

// readGroup reads the answers to one commit. An error says that it is not known
// to be committed.
func (l *Link) readGroup(p *pgconn.Pipeline, group []*Item) (GroupAnswer, error) {
	g := GroupAnswer{Items: make([]Answer, len(group))}
	_, _, _, err, lost := readSegment(p, 3)
	if err != nil || lost != nil {
		return g, fmt.Errorf("the head: %w", errors.Join(err, lost))
	}
	for i, item := range group {
		before := 0
		if i > 0 {
			before++
		}
		guards := 0
		if len(item.Earlier) > 0 {
			guards = 1
		}
		failed, err, lost := readItem(p, item, before+guards)
		if lost != nil {
			return g, fmt.Errorf("transaction %s: %w", item.ID, lost)
		}
		if failed >= 0 && failed < before {
			return g, fmt.Errorf("returning to the savepoint: %w", err)
		}
		g.Items[i].Outcome = Applied
		if failed >= 0 {
			g.Items[i] = l.judge(item, failed-before-guards, err)
		}
		g.Items[i].Seq, g.Items[i].id = item.Seq, item.ID
	}
	if _, _, _, err, lost := readSegment(p, 1); err != nil || lost != nil {
		return g, fmt.Errorf("returning to the savepoint: %w", errors.Join(err, lost))
	}
	tag, _, _, err, lost := readSegment(p, 1)
	if err != nil || lost != nil {
		return g, fmt.Errorf("the commit: %w", errors.Join(err, lost))
	}
	if tag.String() != commit {
		return g, errRolledBack
	}
	g.Committed = true
	return g, nil
}

// readItem reads the answers to one item: of the before statements that precede its
// messages, the messages, and the two that renew its savepoint. failed is the index
// of the first statement that failed, -1 for none; what fails after it fails because
// of it.
func readItem(p *pgconn.Pipeline, item *Item, before int) (failed int, err, lost error) {
	n := before + len(item.encoded.messages) + 2
	if !item.Large() {
		_, _, failed, err, lost = readSegment(p, n)
		return failed, err, lost
	}
	failed = -1
	for done := 0; done < n; {
		segment := 1
		switch {
		case done == 0:
			segment = before + 1
		case done == n-3:
			segment = 3
		}
		_, _, at, segmentErr, lost := readSegment(p, segment)
		if lost != nil {
			return failed, err, lost
		}
		if at >= 0 && failed < 0 {
			failed, err = done+at, segmentErr
		}
		done += segment
	}
	return failed, err, nil
}

// judge says what an error means for the transaction in whose segment it came.
// at is the index of its message; below 0 it was the guard, and beyond the last
// the savepoint.
func (l *Link) judge(item *Item, at int, err error) Answer {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return Answer{Outcome: Again, Err: err}
	}
	if at < 0 && pg.Code == "OP001" {
		return Answer{Outcome: Postponed}
	}
	if problem.ClassOf(err) != problem.Data || at < 0 {
		return Answer{Outcome: Again, Err: err}
	}
	return Answer{Outcome: Refused, Err: err, Problem: refusals{l.config.Problems}.refusal(item.encoded, at, err)}
}

// resolveFound asks the ledger about the transactions that it said to know, and
// settles whether they were applied or discarded. They are few: those of a flush
// whose answer was lost, or of a sneakernet import. A violated idempotency key is
// asked about too, for which of two violated indexes an INSERT names is not
// promised.
func (l *Link) resolveFound(ctx context.Context, groups []GroupAnswer) error {
	at := map[uuid.UUID]*Answer{}
	var ids []uuid.UUID
	for _, g := range groups {
		for i := range g.Items {
			if a := &g.Items[i]; a.found() {
				at[a.id] = a
				ids = append(ids, a.id)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	outcomes, err := recordQuery(func(q *db.Queries) error { _, err := q.FindLedgerOutcomes(ctx, ids); return err })
	if err != nil {
		return err
	}
	unread := func(err error) error { return fmt.Errorf("reading the ledger: %w", err) }
	p := l.conn.StartPipeline(ctx)
	if err := sendUnprepared(p, outcomes); err != nil {
		return unread(err)
	}
	if err := p.Sync(); err != nil {
		return unread(err)
	}
	_, rows, _, err, lost := readSegment(p, 1)
	if err != nil || lost != nil {
		return unread(errors.Join(err, lost))
	}
	if err := p.Close(); err != nil {
		return unread(err)
	}
	for _, row := range rows {
		id, err := uuid.Parse(row[0])
		if err != nil {
			return unread(err)
		}
		outcome := Applied
		if row[1] != "applied" {
			outcome = Discarded
		}
		*at[id] = Answer{Seq: at[id].Seq, id: id, Outcome: outcome, Found: true}
	}
	return nil
}

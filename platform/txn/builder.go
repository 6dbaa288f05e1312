package txn

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// Builder collects the steps of one transaction. A Writer makes it and hands it
// to the build function; it is used by one goroutine and not after build has
// returned. Ids and times of everything the transaction writes come from here:
// they are decided once, at the door, and are the same at both sites.
type Builder struct {
	id     uuid.UUID
	now    time.Time
	siteID int64
	userID *int64
	steps  []Step
	client []uuid.UUID
	guards []string
	exempt bool

	view     pending.View // what is pending at a secondary site
	discards []int64      // dead letters
	place    int64        // of the dead letter that is replaced

	numbers func(ctx context.Context, table string) (int64, error) // nil: none can be had

	snapshot *pending.Snapshot // nil: the replica cannot be read
	lost     error             // why the snapshot was lost while a check used it
	skipped  bool              // a check was skipped
}

// ID is the id of the transaction, a UUIDv7.
func (b *Builder) ID() uuid.UUID { return b.id }

// Now is the time of the transaction, in UTC and to the microsecond; it stays
// the same for all of the transaction.
func (b *Builder) Now() time.Time { return b.now }

// NewID makes an id for a row, a UUIDv7. Ids made later sort later.
func (b *Builder) NewID() uuid.UUID { return newID() }

// NextNumber takes the next id of a table whose key is a number, for a row that the
// transaction creates: the id is known before the row is written, so that the ledger and
// the answer have it. It costs a round trip to the primary, and is main-unreachable
// without one; only a Direct writer has numbers. One that is not used is a gap. In a dry
// run it is 0, and none is taken.
func (b *Builder) NextNumber(ctx context.Context, table string) (int64, error) {
	if b.numbers == nil {
		return 0, fmt.Errorf("taking an id of %s: this writer writes without the primary", table)
	}
	return b.numbers(ctx, table)
}

// SiteID is site.id of the site that accepts the transaction.
func (b *Builder) SiteID() int64 { return b.siteID }

// UserID is the id of the user who asks, nil when it is not known.
func (b *Builder) UserID() *int64 { return b.userID }

// ClientID declares that the client chose the id of a row that the transaction
// creates. Two processes must not both accept it, and the replica may hold a row
// of that id already, so such rows are guarded and looked for.
func (b *Builder) ClientID(id uuid.UUID) { b.client = append(b.client, id) }

// Add appends steps. They take effect in this order; a later one may refer to
// rows of earlier ones.
func (b *Builder) Add(steps ...Step) { b.steps = append(b.steps, steps...) }

// Guard makes the transaction fail to be accepted (and build run again) when
// another one with the same key was accepted after the view that build was
// checked against. Rows that the steps update, delete or refer to are guarded
// without asking; a key is for what is no row, such as the next number of a
// sequence: "<execution>:<module>".
func (b *Builder) Guard(key string) { b.guards = append(b.guards, key) }

// Exempt lets the transaction into a full buffer: for decisions about dead letters
// and for audit events, without which a full buffer could not be mended.
func (b *Builder) Exempt() { b.exempt = true }

// Pending is what is pending at this site, whether or not its replica can be read; at
// main nothing is. What is decided by it is guarded: see Guard.
func (b *Builder) Pending() pending.View { return b.view }

// Discard makes the transaction discard dead letters of this site, by seq, from its
// acceptance on. It is accepted only if all of them still are dead letters, or were
// discarded by one of the others; else build runs again. The steps that record the
// decisions at main are the caller's.
func (b *Builder) Discard(seqs ...int64) {
	b.discards = append(b.discards, seqs...)
	b.Exempt()
}

// Replace makes the transaction take the place of a dead letter that it discards:
// what was accepted after that one comes after this one, and is released when this
// one has been applied. What it writes from here on is of the time and of the user of
// the dead letter, for the records are the same ones.
func (b *Builder) Replace(dead *pending.Tx) error {
	whole, err := dead.Transaction()
	if err != nil {
		return err
	}
	b.place, b.now, b.userID = dead.Place, dead.AcceptedAt, whole.UserID
	return nil
}

// Check runs fn on the snapshot that the transaction is validated against: the
// replica's rows together with the pending ones, or the primary's at main. It
// returns what fn returns. When the replica cannot be read it returns nil without
// running fn (or although fn could not go on): a broken replica must not stop
// observing, and the primary checks again when the transaction is applied.
func (b *Builder) Check(ctx context.Context, fn func(ctx context.Context, s *pending.Snapshot) error) error {
	err := b.read(ctx, fn)
	if err == errUnread {
		b.skipped = true
		return nil
	}
	return err
}

// Checked says whether every check so far could be run.
func (b *Builder) Checked() bool { return !b.skipped }

// Require is Check for what cannot be decided without stored rows, such as the
// files that belong into a package by default: when the replica cannot be read it
// is replica-unreachable. It may take as long as the request may, for there is no
// answer without it: a package of ten thousand pending files takes its time.
func (b *Builder) Require(ctx context.Context, fn func(ctx context.Context, s *pending.Snapshot) error) error {
	err := b.read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		if err := s.Wait(ctx); err != nil {
			return err
		}
		return fn(ctx, s)
	})
	if err == errUnread {
		return problem.ReplicaUnreachable.New("the site's replica is needed for this and cannot be read now")
	}
	return err
}

func (b *Builder) read(ctx context.Context, fn func(ctx context.Context, s *pending.Snapshot) error) error {
	if b.snapshot == nil || b.lost != nil {
		return errUnread
	}
	err := fn(ctx, b.snapshot)
	if err == nil || ctx.Err() != nil || isProblem(err) {
		return err
	}
	if problem.ClassOf(err) == problem.Retry {
		b.lost = err
		return errUnread
	}
	return fmt.Errorf("checking a transaction: %w", err)
}

// again makes the builder ready for another run of build. Transaction id and
// time stay: whatever the client may have been told of them holds.
func (b *Builder) again() *Builder {
	return &Builder{id: b.id, now: b.now, siteID: b.siteID, userID: b.userID, view: b.view}
}

// draft is what a run of build has come to.
type draft struct {
	builder *Builder
	steps   []pending.Step
	changes []pending.Change
}

// dryRun is the receipt of what is only validated.
func (d draft) dryRun() (Receipt, error) {
	if !d.builder.Checked() {
		return Receipt{}, problem.ReplicaUnreachable.New("a dry run is nothing but checks, and they need the site's replica, which cannot be read now")
	}
	return Receipt{ValidateOnly: true, Changes: d.changes, Checked: true}, nil
}

// finish encodes the steps and folds them to changes.
func (b *Builder) finish(catalog *Catalog) (draft, error) {
	d := draft{builder: b}
	if len(b.steps) == 0 {
		return d, fmt.Errorf("building a transaction: it has no step")
	}
	for _, s := range b.steps {
		encoded, err := catalog.Encode(s)
		if err != nil {
			return d, fmt.Errorf("building a transaction: %w", err)
		}
		d.steps = append(d.steps, encoded)
		d.changes = append(d.changes, s.Rows()...)
	}
	return d, nil
}

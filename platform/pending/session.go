package pending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrStale is returned by the scripts of a processor or tracker when another
// processor has taken an epoch since, or Redis was restarted: nothing was
// changed. A processor drops its connection and begins again.
var ErrStale = errors.New("another processor or another Redis holds the buffer")

// Session is a processor's right to change states: the epoch of one connection
// to the primary, in one life of Redis.
type Session struct {
	Epoch int64
	Load  string
	store *Store
}

// stale recognises the answer of a script that did nothing.
func stale(err error) error {
	if err != nil && redis.HasErrorPrefix(err, "STALE") {
		return ErrStale
	}
	return err
}

// run runs a script that carries epoch and load, and brings the view up to it.
func (se Session) run(ctx context.Context, doing string, script *redis.Script, args ...any) (*redis.Cmd, error) {
	all := append([]any{se.Epoch, se.Load}, args...)
	cmd := script.Run(ctx, se.store.client, []string{se.store.prefix}, all...)
	if err := stale(cmd.Err()); err != nil {
		if errors.Is(err, ErrStale) {
			return nil, fmt.Errorf("%s: %w", doing, ErrStale)
		}
		return nil, se.store.unavailable(doing, err)
	}
	return cmd, nil
}

// follow lets a script's changes into the view of this process. The script has
// done its work; a view that cannot be brought up now will be by its next
// reader.
func (s *Store) followed(ctx context.Context) {
	if _, err := s.CatchUp(ctx); err != nil {
		s.log.WarnContext(ctx, "the view stays behind after a script", "error", err)
	}
}

// BeginEpoch takes the next epoch, for one new connection to the primary.
func (s *Store) BeginEpoch(ctx context.Context) (Session, error) {
	// A catch-up first: it puts everything back when Redis is another.
	if _, err := s.CatchUp(ctx); err != nil {
		return Session{}, err
	}
	reply, err := scripts.beginEpoch.Run(ctx, s.client, []string{s.prefix}).Slice()
	if err = stale(err); err != nil {
		if errors.Is(err, ErrStale) {
			return Session{}, fmt.Errorf("taking an epoch: %w", err)
		}
		return Session{}, s.unavailable("taking an epoch", err)
	}
	epoch, okEpoch := reply[0].(int64)
	load, okLoad := reply[1].(string)
	if !okEpoch || !okLoad {
		return Session{}, fmt.Errorf("taking an epoch: Redis answered %v", reply)
	}
	return Session{Epoch: epoch, Load: load, store: s}, nil
}

// RaiseEpoch lifts the epoch to the primary's after a claim that was refused
// although no other processor has taken one here (a Redis that has forgotten
// its own). Begin again with BeginEpoch.
func (se Session) RaiseEpoch(ctx context.Context, primary int64) error {
	_, err := se.run(ctx, "raising the epoch", scripts.raiseEpoch, primary)
	return err
}

// Claim is what the primary answered to a claim, and to the question which of
// our dead letters its ledger has.
type Claim struct {
	Batch, LastSeq int64
	// Shown is the highest number of the site that its replica has shown, as far as this
	// process knows. Main may have lost it in a failover, and Redis have forgotten it.
	Shown int64
	// InLedger are the seqs of those dead letters: they go back to the buffer and
	// are found again.
	InLedger []int64
}

// Connection is what a claim means for this site.
type Connection struct {
	// Batch is the highest commit number that may have been sent; RaiseBatch
	// continues above it.
	Batch int64
	// LostTail are transactions that main had and has lost (a failover, a
	// restore); they are buffered again.
	LostTail []int64
	// Alarm is set when main has seen a commit number of this site that its Redis
	// does not know: acknowledged writes may be missing from the buffer.
	Alarm bool
}

// Connected tells Redis what a claim said, before anything is sent on the new
// connection. Commit numbers begin above ours, the claim's and the clock's; seq
// is at least the claim's last_seq.
func (se Session) Connected(ctx context.Context, c Claim) (Connection, error) {
	args := []any{c.Batch, c.LastSeq, se.store.now().UnixMicro(), c.Shown}
	for _, seq := range c.InLedger {
		args = append(args, seq)
	}
	cmd, err := se.run(ctx, "recording a claim", scripts.connected, args...)
	if err != nil {
		return Connection{}, err
	}
	reply, err := cmd.Slice()
	if err != nil {
		return Connection{}, fmt.Errorf("recording a claim: %w", err)
	}
	var out Connection
	batch, _ := reply[0].(string)
	if out.Batch, err = strconv.ParseInt(batch, 10, 64); err != nil {
		return Connection{}, fmt.Errorf("recording a claim: %w", err)
	}
	out.Alarm = reply[1] == int64(1)
	lost, _ := reply[2].([]any)
	if out.LostTail, err = seqs(lost); err != nil {
		return Connection{}, fmt.Errorf("recording a claim: %w", err)
	}
	se.store.followed(ctx)
	return out, nil
}

// seqs reads a list of seqs that a script answered.
func seqs(list []any) ([]int64, error) {
	var out []int64
	for _, v := range list {
		text, _ := v.(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// RaiseBatch reserves the commit numbers of one flush and returns the first:
// first, first+1, … first+groups-1. They are on disk before they are sent.
func (se Session) RaiseBatch(ctx context.Context, groups int) (first int64, err error) {
	cmd, err := se.run(ctx, "reserving commit numbers", scripts.raiseBatch, groups)
	if err != nil {
		return 0, err
	}
	text, err := cmd.Text()
	if err != nil {
		return 0, fmt.Errorf("reserving commit numbers: %w", err)
	}
	if first, err = strconv.ParseInt(text, 10, 64); err != nil {
		return 0, fmt.Errorf("reserving commit numbers: %w", err)
	}
	return first, nil
}

// Settled is one transaction whose commit is known.
type Settled struct {
	Seq int64
	// Position is the number of the commit that holds it, or that found it in the
	// ledger; LSN is where the primary's log stood afterwards.
	Position int64
	LSN      string
	// Outcome is StateApplied or, when the ledger says so, StateDiscarded.
	Outcome State
}

// replaced is the outcome of a dead letter in whose place another transaction was
// applied: what it held back may go on.
const replaced State = "replaced"

// withTargets adds to settled what those transactions discard.
func withTargets(view View, settled []Settled) []Settled {
	var all []Settled
	for i, one := range settled {
		t, ok := view.TxBySeq(one.Seq)
		if ok && len(t.Discards) > 0 && one.Outcome == StateApplied && all == nil {
			all = slices.Clone(settled[:i])
		}
		if all == nil {
			continue
		}
		all = append(all, one)
		if !ok || one.Outcome != StateApplied {
			continue
		}
		target := Settled{Position: one.Position, LSN: one.LSN, Outcome: StateDiscarded}
		if t.Place != t.Seq {
			target.Outcome = replaced
		}
		for _, target.Seq = range t.Discards {
			all = append(all, target)
		}
	}
	if all == nil {
		return settled
	}
	return all
}

// Settle records commits, in the order of their positions, and releases what
// settled dead letters had blocked. Only transactions that are buffered or dead
// are changed, and those that an applied one discards.
func (se Session) Settle(ctx context.Context, settled []Settled) error {
	if len(settled) == 0 {
		return nil
	}
	settled = withTargets(se.store.Current(), settled)
	args := make([]any, 0, len(settled)+16)
	for i := 0; i < len(settled); {
		j := i
		for j < len(settled) && settled[j].Position == settled[i].Position && settled[j].Outcome == settled[i].Outcome {
			j++
		}
		args = append(args, settled[i].Position, settled[i].LSN, string(settled[i].Outcome), j-i)
		for ; i < j; i++ {
			args = append(args, settled[i].Seq)
		}
	}
	if _, err := se.run(ctx, "settling", scripts.settle, args...); err != nil {
		return err
	}
	se.store.followed(ctx)
	return nil
}

// Failure is one transaction that its own data made fail.
type Failure struct {
	Seq     int64
	Problem json.RawMessage
	// At is when it failed; NextTry is when it is tried again by itself, zero for
	// never. Tx.Attempts says how often it was tried before.
	At, NextTry time.Time
}

// Fail makes dead letters of buffered transactions.
func (se Session) Fail(ctx context.Context, failed []Failure) error {
	if len(failed) == 0 {
		return nil
	}
	args := make([]any, 0, 4*len(failed))
	for _, f := range failed {
		attempt, err := json.Marshal(Attempt{At: f.At.UTC(), Problem: f.Problem})
		if err != nil {
			return fmt.Errorf("recording a failed transaction: %w", err)
		}
		var next int64
		if !f.NextTry.IsZero() {
			next = f.NextTry.UnixMicro()
		}
		args = append(args, f.Seq, next, []byte(f.Problem), attempt)
	}
	if _, err := se.run(ctx, "recording failed transactions", scripts.fail, args...); err != nil {
		return err
	}
	se.store.followed(ctx)
	return nil
}

// Blocking is one transaction that waits for a dead letter.
type Blocking struct{ Seq, By int64 }

// Block takes buffered transactions out of the way, by rising seq; one whose
// blocker is no dead letter any more stays buffered.
func (se Session) Block(ctx context.Context, blocked []Blocking) error {
	if len(blocked) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(blocked))
	for _, b := range blocked {
		args = append(args, b.Seq, b.By)
	}
	if _, err := se.run(ctx, "blocking transactions", scripts.block, args...); err != nil {
		return err
	}
	se.store.followed(ctx)
	return nil
}

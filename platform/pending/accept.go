package pending

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
)

// Accept is one new transaction to be stored.
type Accept struct {
	// Transaction is stored as it is; its Seq is given by the script.
	Transaction *Transaction
	// Changes are what its steps do to rows, in the order of the steps.
	Changes []Change
	// View is the one that the transaction was validated against: it must be
	// older than the snapshot used, as Reader does it. Its zero value is always
	// stale.
	View View
	// Exempt transactions (discards, audit events) ignore the capacity: a buffer
	// full of dead letters must be mendable. What Transaction.Discards names is
	// discarded in the same script, or the answer is Stale.
	Exempt bool
	// Unchecked transactions are counted: the replica could not be read for their checks.
	Unchecked bool
}

// Accepted is what became of it. Exactly one of Seq, Existing and Stale says so.
type Accepted struct {
	Seq int64
	// BlockedBy is the seq of the dead letter that holds it back from the start,
	// 0 for none.
	BlockedBy int64
	// Existing is set when the actor used this key before: nothing was stored.
	Existing *Existing
	// Stale is set when a row it touches or references was changed after View, or
	// Redis was restarted: nothing was stored. Catch up, validate again.
	Stale bool
}

// Existing is the transaction that an idempotency key already stands for.
type Existing struct {
	Seq int64
	// Digest is the request digest of that transaction, to tell a repetition
	// from another request under the same key.
	Digest []byte
}

// Accept stores a transaction durably, in one script; when it returns a Seq,
// this process's own view holds the transaction. Guards are the rows that the
// changes touch or reference and Transaction.Guards. The errors are buffer-full
// and pending-unavailable; after the second the transaction may have been
// stored, and its key (or id) decides on repetition.
func (s *Store) Accept(ctx context.Context, a Accept) (Accepted, error) {
	if err := s.durable(); err != nil {
		return Accepted{}, err
	}
	t := a.Transaction
	h, b, err := encode(t)
	if err != nil {
		return Accepted{}, err
	}
	if a.View.Load == "" {
		return Accepted{Stale: true}, nil
	}
	touched, guarded := guards(t, a.Changes)
	blockers := slices.DeleteFunc(a.View.Blockers(a.Changes, t.Place), func(seq int64) bool { return slices.Contains(t.Discards, seq) })
	capacity := s.opts.Capacity
	if a.Exempt {
		capacity = -1
	}
	args := make([]any, 0, 11+len(t.Discards)+len(touched)+len(guarded)+len(blockers))
	run := scripts.accept
	if len(t.Discards) > 0 {
		run = discard
		args = append(args, len(t.Discards))
		for _, seq := range t.Discards {
			args = append(args, seq)
		}
	}
	args = append(args, a.View.Load, a.View.LastSeq, capacity, idempotencyField(t.Actor, t.IdempotencyKey, t.ID), []byte(t.RequestDigest), h, b,
		len(touched), len(guarded))
	for _, g := range touched {
		args = append(args, g)
	}
	for _, g := range guarded {
		args = append(args, g)
	}
	for _, seq := range blockers {
		args = append(args, seq)
	}
	began := time.Now()
	reply, err := run.Run(ctx, s.client, []string{s.prefix}, args...).Slice()
	if took := s.took.Load(); took != nil {
		(*took)(time.Since(began))
	}
	if err != nil {
		if rdb.Full(err) {
			s.setStatus(func(st *Status) { st.RefusedFull = time.Now() })
		}
		return Accepted{}, s.unavailable("storing a transaction", err)
	}
	if !s.status.Load().RefusedFull.IsZero() {
		s.setStatus(func(st *Status) { st.RefusedFull = time.Time{} })
	}
	switch word, _ := reply[0].(string); word {
	case "full":
		return Accepted{}, problem.BufferFull.New("the site's buffer holds %d transactions", s.opts.Capacity)
	case "stale":
		return Accepted{Stale: true}, nil
	case "existing":
		seq, digest, err := existing(reply[1])
		if err != nil {
			return Accepted{}, err
		}
		return s.again(ctx, t.ID, Existing{seq, digest})
	}
	seq, blockedBy := reply[1].(int64), reply[2].(int64)
	s.accepted(a, seq, blockedBy, h, b)
	if a.Unchecked {
		s.unchecked.Add(1)
	}
	if len(t.Discards) > 0 {
		s.followed(ctx) // the view lets go of what is discarded
	}
	return Accepted{Seq: seq, BlockedBy: blockedBy}, nil
}

// again tells a repeated request from a repeated script: the client runs a
// script once more when its answer was lost, and finds what it stored itself.
func (s *Store) again(ctx context.Context, id uuid.UUID, e Existing) (Accepted, error) {
	stored, err := s.Lookup(ctx, e.Seq)
	if err != nil {
		return Accepted{}, err
	}
	if stored == nil || stored.ID != id {
		return Accepted{Existing: &e}, nil
	}
	v, err := s.CatchUp(ctx)
	if err != nil {
		return Accepted{}, err
	}
	out := Accepted{Seq: e.Seq}
	if x, ok := v.TxBySeq(e.Seq); ok && x.State == StateBlocked {
		out.BlockedBy = x.Dead.BlockedBy
	}
	return out, nil
}

// accepted puts a transaction of our own into our own view, so that the next
// read of this process shows it without asking Redis.
func (s *Store) accepted(a Accept, seq, blockedBy int64, h, b []byte) {
	stored := *a.Transaction
	stored.Seq = seq
	s.mu.Lock()
	defer s.mu.Unlock()
	// What the view has already been told about must not be added again: the
	// transaction may have left it since.
	if s.state.Load != a.View.Load || seq <= s.state.LastSeq {
		return
	}
	x := s.state.tx(&stored, h, b)
	x.Changes = s.state.own(a.Changes, b)
	if blockedBy != 0 {
		x.State, x.Dead = StateBlocked, &DeadLetter{BlockedBy: blockedBy}
	}
	s.state.insert(x)
	s.state.advance()
	s.touched()
}

// own copies the changes of a transaction made here and lets them share the
// bytes of its stored form.
func (s *state) own(changes []Change, b []byte) []Change {
	out := slices.Clone(changes)
	var steps [][]byte
	if err := eachField(b, func(name, v []byte) error {
		if string(name) != "steps" {
			return nil
		}
		return eachElement(v, func(e []byte) error {
			steps = append(steps, column(e, "data"))
			return nil
		})
	}); err != nil || len(steps) != len(out) {
		return out
	}
	for i := range out {
		if bytes.Equal(out[i].Columns, steps[i]) {
			out[i] = aliased(out[i], steps[i], s)
		}
	}
	return out
}

// advance raises LastSeq over transactions of our own that directly follow it.
func (s *state) advance() {
	for {
		if _, ok := s.sets.all.Get(&Tx{Seq: s.LastSeq + 1}); !ok {
			return
		}
		s.LastSeq++
	}
}

// guards returns the guard keys that a transaction sets (rows touched by
// updates, deletes and client-made ids, and its own), and the others that it
// only looks at (rows it references), each once.
func guards(t *Transaction, changes []Change) (sets, looks []string) {
	chosen, own := setOf(t.ClientIDs), make([]uuid.UUID, len(changes))
	sets = slices.Clone(t.Guards)
	var refs []uuid.UUID
	for i, c := range changes {
		own[i] = c.ID
		if c.Op != OpCreate || chosen(c.ID) {
			sets = append(sets, c.ID.String())
		}
		for _, r := range c.References {
			if len(refs) == 0 || refs[len(refs)-1] != r.ID { // files of one execution
				refs = append(refs, r.ID)
			}
		}
	}
	if len(refs) > 0 {
		slices.SortFunc(refs, compareID)
		mine := setOf(own) // a row of its own, named by a later step, guards nothing
		for _, id := range slices.Compact(refs) {
			if !mine(id) {
				looks = append(looks, id.String())
			}
		}
	}
	slices.Sort(sets)
	return slices.Compact(sets), looks
}

// setOf makes a test for membership; a bulk request names thousands of ids.
func setOf(ids []uuid.UUID) func(uuid.UUID) bool {
	if len(ids) < 16 {
		return func(id uuid.UUID) bool { return slices.Contains(ids, id) }
	}
	m := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		m[id] = struct{}{}
	}
	return func(id uuid.UUID) bool { _, ok := m[id]; return ok }
}

func existing(v any) (seq int64, digest []byte, err error) {
	text, _ := v.(string)
	n, digestText, ok := cut(text)
	if !ok {
		return 0, nil, fmt.Errorf("reading the idempotency of a transaction: %q", text)
	}
	return n, []byte(digestText), nil
}

// cut reads "<number>:<rest>".
func cut(text string) (n int64, rest string, ok bool) {
	for i := range len(text) {
		if text[i] == ':' {
			n, err := strconv.ParseInt(text[:i], 10, 64)
			return n, text[i+1:], err == nil
		}
	}
	return 0, "", false
}

// Existing looks an idempotency key up without storing anything; nil when the
// actor has not used it here. Redis answers it first, the ledger second.
func (s *Store) Existing(ctx context.Context, actor, key string) (*Existing, error) {
	text, err := s.client.HGet(ctx, s.prefix+"idempotency", idempotencyField(actor, &key, uuid.Nil)).Result()
	if err == redis.Nil {
		return nil, nil
	}
	if err != nil {
		return nil, s.unavailable("looking an idempotency key up", err)
	}
	seq, digest, err := existing(text)
	if err != nil {
		return nil, err
	}
	return &Existing{seq, digest}, nil
}

// Lookup reads one stored transaction, pending or not; nil when its entry has
// expired. With it a repeated request gets the ids of its first attempt even
// after those have replicated.
func (s *Store) Lookup(ctx context.Context, seq int64) (*Transaction, error) {
	id := strconv.FormatInt(seq, 10) + "-0"
	entries, err := s.client.XRange(ctx, s.prefix+"transactions", id, id).Result()
	if err != nil {
		return nil, s.unavailable("reading a stored transaction", err)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	e, err := entryOf(messageOf(entries[0]))
	if err != nil {
		return nil, err
	}
	return decode(e.seq, e.head, e.body)
}

// ChangesOf decodes what a stored transaction does to rows.
func (s *Store) ChangesOf(t *Transaction) ([]Change, error) {
	var out []Change
	for _, step := range t.Steps {
		c, err := s.opts.Decoder.Changes(step.Kind, step.Data)
		if err != nil {
			return nil, fmt.Errorf("reading step %s: %w", step.Kind, err)
		}
		out = append(out, c...)
	}
	return out, nil
}

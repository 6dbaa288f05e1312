package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// saboteur is a client whose executions somebody at main changes or deletes by
// hand while writes to them wait in the buffer: these become dead letters, which an
// operator retries once the row is mended, or discards. It also makes mistakes of its
// own, which the operator corrects.
type saboteur struct {
	client
	// undecided are the dead letters that a decision has had no answer for.
	undecided []decision
}

// decision is what an operator wants done with a dead letter.
type decision struct {
	tx, key, action, row string
	body                 []byte
}

// What somebody at main does to an execution, and how it is mended.
const (
	endAtMain    = "UPDATE executed_obs_unit SET status = 'aborted', end_time = start_time + interval '1 s', updated_at = now() WHERE id = $1"
	mendAtMain   = "UPDATE executed_obs_unit SET status = 'running', end_time = NULL, updated_at = now() WHERE id = $1"
	deleteAtMain = "DELETE FROM executed_obs_unit WHERE id = $1"
)

// An obs unit that is gone again when the first execution of it comes to main.
const (
	makeUnit = `
		INSERT INTO obs_unit (name, observing_program_id, source_id, obs_mode_id, instrument_id)
		SELECT $1, observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE id = $2
		RETURNING id`
	deleteUnit = "DELETE FROM obs_unit WHERE id = $1"
)

// work makes one poison after the other until end.
func (s *saboteur) work(ctx context.Context, end *atomic.Bool) {
	for !end.Load() && ctx.Err() == nil {
		s.decide(ctx)
		switch {
		case s.asking != nil:
			s.do(ctx, s.asking)
		case s.rng.IntN(3) == 0:
			s.mistake(ctx)
		default:
			s.poison(ctx)
		}
		select {
		case <-time.After(time.Duration(s.rng.IntN(2000)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// poison writes to an execution that is not at main any more as it was.
func (s *saboteur) poison(ctx context.Context) {
	s.start(ctx)
	if s.asking != nil || len(s.own) == 0 {
		return
	}
	x := s.own[len(s.own)-1]
	start := s.acked[len(s.acked)-1]
	if !s.applied(ctx, start.tx) {
		return
	}
	deleted := s.rng.IntN(2) == 0
	harm := endAtMain
	if deleted {
		harm = deleteAtMain
	}
	if !s.sql(ctx, x, harm) {
		return
	}
	x.running = false
	before := len(s.acked)
	s.poisons(ctx, x, deleted)
	poisons := s.acked[before:]
	if s.asking != nil || len(poisons) == 0 {
		return
	}
	if !s.dead(ctx, poisons[0].tx) {
		return // it was refused at the door, or went through before
	}
	switch {
	case !deleted && s.sql(ctx, x, mendAtMain):
		// One call: what it blocks goes with it.
		s.undecided = append(s.undecided, decision{poisons[0].tx, poisons[0].write.key, "retry", x.name, nil})
	case deleted:
		for _, p := range poisons {
			s.undecided = append(s.undecided, decision{p.tx, p.write.key, "discard", x.name, encode(map[string]any{"reason": "deleted at main"})})
		}
	}
	s.decide(ctx)
}

// poisons sends what main will refuse, and what depends on it.
func (s *saboteur) poisons(ctx context.Context, x *execution, deleted bool) {
	patch := func() *write {
		key := s.key()
		return &write{op: OpPatch, method: http.MethodPatch, path: "/executed_obs_units/" + x.id, key: key, row: x, value: key,
			body: encode(map[string]any{"comment": key}), done: func(answer) {}}
	}
	first := patch()
	if !deleted {
		first = &write{op: OpFinish, method: http.MethodPut, path: "/executed_obs_units/" + x.id + "/finish", key: s.key(), row: x, value: "completed",
			body: encode(map[string]any{"status": "completed", "end_time": startOf(x.client, x.n).Add(30 * time.Second)}), done: func(answer) {}}
	}
	for _, w := range []*write{first, patch(), patch()} {
		if s.do(ctx, w); s.asking != nil {
			return
		}
	}
}

// mistake starts an execution of an obs unit that main no longer has. The operator
// puts a start of another one in its place, and what depends on it goes on.
func (s *saboteur) mistake(ctx context.Context) {
	var unit int64
	if !s.atMain(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, makeUnit, "chaos-"+s.key(), s.world.unit).Scan(&unit)
	}) {
		return
	}
	if !s.shown(ctx) {
		return // the replica is away; the unit does no harm
	}
	if !s.atMain(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, deleteUnit, unit)
		return err
	}) {
		return
	}
	before, own := len(s.acked), len(s.own)
	s.startUnit(ctx, unit)
	if s.asking != nil || len(s.own) == own || len(s.acked) == before {
		return // it was refused at the door
	}
	x, start := s.own[own], s.acked[before]
	for range 2 {
		key := s.key()
		s.do(ctx, &write{op: OpPatch, method: http.MethodPatch, path: "/executed_obs_units/" + x.id, key: key, row: x, value: key,
			body: encode(map[string]any{"comment": key}), done: func(answer) {}})
		if s.asking != nil {
			return
		}
	}
	if s.dead(ctx, start.tx) {
		s.undecided = append(s.undecided, decision{start.tx, start.write.key, "replace", x.name,
			encode(map[string]any{"reason": "another obs unit was observed", "request": map[string]any{"obs_unit_id": s.world.unit}})})
	}
	s.decide(ctx)
}

// applied waits until a write has come to main.
func (s *saboteur) applied(ctx context.Context, tx string) bool {
	return s.comesTo(ctx, tx, "applied", "replicated")
}

// dead waits until a write is a dead letter.
func (s *saboteur) dead(ctx context.Context, tx string) bool {
	return s.comesTo(ctx, tx, "failed", "blocked")
}

func (s *saboteur) comesTo(ctx context.Context, tx string, states ...string) bool {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var t struct {
			State string `json:"state"`
		}
		call := s.send(limited, Call{Op: OpTell}, s.rng.IntN(len(s.apis)), http.MethodGet, "/transactions/"+tx, s.world.ServiceToken, nil, &t)
		for _, state := range states {
			if call.Outcome == OK && t.State == state {
				return true
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-limited.Done():
			return false
		}
	}
}

// sql does something by hand at main, and notes it.
func (s *saboteur) sql(ctx context.Context, x *execution, statement string) bool {
	note := Call{Client: s.name, Site: SiteMain, Op: OpSQL, Row: x.name, Value: statement, Start: s.world.recorder.now(), Outcome: OK}
	err := s.onPrimary(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		done, err := conn.Exec(ctx, statement, x.id)
		if err == nil && done.RowsAffected() != 1 {
			err = errors.New("there is no such row")
		}
		return err
	})
	note.End = s.world.recorder.now()
	if err != nil {
		note.Outcome, note.Problem = Unknown, err.Error()
	}
	s.world.recorder.call(note)
	return err == nil
}

// atMain does something at main that concerns no execution, and says whether it is done.
func (s *saboteur) atMain(ctx context.Context, fn func(context.Context, *pgx.Conn) error) bool {
	err := s.onPrimary(ctx, fn)
	if err != nil {
		s.world.recorder.mark(fmt.Sprintf("by hand at main: %v", err))
	}
	return err == nil
}

// shown waits until the site's replica shows what main has, for as long as a client
// waits for an answer.
func (s *saboteur) shown(ctx context.Context) bool {
	s.world.faults.main.RLock()
	defer s.world.faults.main.RUnlock()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.world.Stack.WaitForReplay(limited) == nil
}

// onPrimary connects to the primary of now, which no failover changes meanwhile.
func (s *saboteur) onPrimary(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
	s.world.faults.main.RLock()
	defer s.world.faults.main.RUnlock()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return with(limited, s.world.Stack.Primary.URL(s.world.Database), func(conn *pgx.Conn) error { return fn(limited, conn) })
}

// decide tells the site what to do with dead letters, again for those that had no
// answer.
func (s *saboteur) decide(ctx context.Context) {
	for len(s.undecided) > 0 {
		d := s.undecided[0]
		call := s.send(context.WithoutCancel(ctx), Call{Op: OpOperator, Row: d.row, Key: d.key, Value: d.action}, s.rng.IntN(len(s.apis)), http.MethodPost,
			"/buffer/transactions/"+d.tx+"/"+d.action, s.world.AdminToken, d.body, nil, "Idempotency-Key", d.action+"-"+d.key)
		call.Tx = d.tx
		s.world.recorder.call(call)
		if call.Outcome == Unknown {
			return
		}
		s.undecided = s.undecided[1:]
	}
}

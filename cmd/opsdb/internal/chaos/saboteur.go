package chaos

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// saboteur is a client whose executions somebody at main changes or deletes by
// hand while writes to them wait in the buffer: these become dead letters, which an
// operator retries once the row is mended, or discards.
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

// work makes one poison after the other until end.
func (s *saboteur) work(ctx context.Context, end *atomic.Bool) {
	for !end.Load() && ctx.Err() == nil {
		s.decide(ctx)
		if s.asking != nil {
			s.do(ctx, s.asking)
		} else {
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
	s.world.faults.main.RLock()
	defer s.world.faults.main.RUnlock()
	note := Call{Client: s.name, Site: SiteMain, Op: OpSQL, Row: x.name, Value: statement, Start: s.world.recorder.now(), Outcome: OK}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := with(limited, s.world.Stack.Primary.URL(s.world.Database), func(conn *pgx.Conn) error {
		done, err := conn.Exec(limited, statement, x.id)
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

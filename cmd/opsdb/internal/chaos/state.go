package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// drainRate is what a drain makes at least on a machine that does other things
// as well, transactions a second; bar P3 asks for five times as much.
const drainRate = 500

// liveness measures how long the healed site needs to empty its buffer. Nobody
// writes meanwhile.
func (r *run) liveness(ctx context.Context, result *Round) error {
	healed := time.Now()
	backlog, err := r.waiting(ctx)
	if err != nil {
		return err
	}
	result.Backlog = backlog
	result.Bar = 5*time.Second + time.Duration(backlog)*time.Second/drainRate
	limited, cancel := context.WithTimeout(ctx, r.options.Wedged+result.Bar)
	defer cancel()
	for left := backlog; left > 0; {
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.recorder.wedged(Violation{Promise: Live, What: fmt.Sprintf(
				"%.0f s after everything was healed %d of %d transactions still wait in the buffer", time.Since(healed).Seconds(), left, backlog)})
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		if left, err = r.waiting(limited); err != nil && limited.Err() == nil {
			return err
		}
	}
	result.EmptyAfter = time.Since(healed)
	return nil
}

// waiting is the length of the buffer, as Redis tells it.
func (r *run) waiting(ctx context.Context) (int, error) {
	answer, err := r.Stack.Redis.Command(ctx, "LLEN", "site:"+r.Site+":transaction_buffer")
	if err != nil {
		return 1, err
	}
	return strconv.Atoi(strings.TrimPrefix(answer, ":"))
}

// drained waits until the replica shows everything but dead letters.
func (w *world) drained(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, w.options.Wedged)
	defer cancel()
	operator := newClient(w, "operator0", SiteObservatory, w.Observatory, w.options.Seed)
	var last error
	for {
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		call := operator.send(limited, Call{Op: OpOperator}, 0, http.MethodGet, "/buffer/transactions?state=buffered,applied&limit=1", w.AdminToken, nil, &page)
		if call.Outcome == OK && len(page.Items) == 0 {
			return w.Stack.WaitForReplay(limited)
		}
		last = fmt.Errorf("%d %s, %d transactions", call.Status, call.Problem, len(page.Items))
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			w.recorder.wedged(Violation{Promise: Live, What: fmt.Sprintf("%s after everything was healed the replica does not show everything: %v", w.options.Wedged, last)})
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// The statements that read the state. All rows carry the mark of the run.
const (
	selectLedger = `
		SELECT id::text, site, coalesce(seq, 0), outcome, coalesce(idempotency_key, ''), xmin::text::bigint
		FROM applied_transaction WHERE idempotency_key ~ '^[mos][0-9]+-k[0-9]+$'`
	selectRows = `
		SELECT e.conditions->>'chaos', e.id::text, e.status::text, e.comment,
		       ARRAY(SELECT f.id::text FROM raw_data_file f WHERE f.executed_obs_unit_id = e.id ORDER BY f.id),
		       coalesce((SELECT jsonb_object_agg(p.id::text, p.status) FROM raw_data_package p WHERE p.executed_obs_unit_id = e.id), '{}')
		FROM executed_obs_unit e WHERE e.conditions ? 'chaos' ORDER BY e.id`
	selectFiles = `
		SELECT f.id::text, f.relative_path FROM raw_data_file f JOIN executed_obs_unit e ON e.id = f.executed_obs_unit_id WHERE e.conditions ? 'chaos'`
	// Everything that the load writes, as text: what one server has and another not.
	selectDigests = `
		SELECT 'executed_obs_unit ' || id, md5(to_jsonb(t)::text) FROM executed_obs_unit t
		UNION ALL SELECT 'raw_data_file ' || id, md5(to_jsonb(t)::text) FROM raw_data_file t
		UNION ALL SELECT 'raw_data_package ' || id, md5(to_jsonb(t)::text) FROM raw_data_package t
		UNION ALL SELECT 'physical_copy ' || id, md5(to_jsonb(t)::text) FROM physical_copy t
		UNION ALL SELECT 'applied_transaction ' || id, md5(to_jsonb(t)::text) FROM applied_transaction t`
)

// state reads what there is at main, and whether the replica has the same.
func (r *run) state(ctx context.Context) (State, error) {
	state := State{Files: map[string]string{}}
	digests := map[string]string{}
	// Before the ledger: what is tried again in between and applied is in that.
	var err error
	if state.Dead, err = r.kept(ctx); err != nil {
		return state, err
	}
	err = with(ctx, r.Stack.Primary.URL(r.Database), func(conn *pgx.Conn) error {
		var e Entry
		err := each(ctx, conn, selectLedger, []any{&e.ID, &e.Site, &e.Seq, &e.Outcome, &e.Key, &e.XID}, func() {
			state.Ledger = append(state.Ledger, e)
		})
		var row SeenRow
		var packages []byte
		err = errors.Join(err, each(ctx, conn, selectRows, []any{&row.Name, &row.ID, &row.Status, &row.Comment, &row.Files, &packages}, func() {
			one := row
			one.Packages, one.Files = map[string]string{}, append([]string(nil), row.Files...)
			if json.Unmarshal(packages, &one.Packages) != nil {
				one.Packages = nil // jsonb_object_agg of text is an object of text
			}
			state.Rows = append(state.Rows, one)
		}))
		var key, value string
		err = errors.Join(err, each(ctx, conn, selectFiles, []any{&key, &value}, func() { state.Files[key] = value }))
		return errors.Join(err, each(ctx, conn, selectDigests, []any{&key, &value}, func() { digests[key] = value }))
	})
	if err != nil {
		return state, fmt.Errorf("reading the state at main: %w", err)
	}
	err = with(ctx, r.Stack.Replica.URL(r.Database), func(conn *pgx.Conn) error {
		var key, value string
		return each(ctx, conn, selectDigests, []any{&key, &value}, func() {
			if digests[key] != value {
				state.Differs = append(state.Differs, key+" differs between main and the replica")
			}
			delete(digests, key)
		})
	})
	if err != nil {
		return state, fmt.Errorf("reading the state at the replica: %w", err)
	}
	for _, key := range sortedKeys(digests) {
		state.Differs = append(state.Differs, key+" is not at the replica")
	}
	return state, nil
}

// kept asks the site for what it has not seen replicated, which is dead letters by then. A dead letter that is just
// being tried again is buffered, so all states are asked for at once.
func (r *run) kept(ctx context.Context) ([]Dead, error) {
	operator := newClient(r.world, "operator0", SiteObservatory, r.Observatory, r.options.Seed)
	var dead []Dead
	const all = "/buffer/transactions?state=failed,blocked,buffered,applied&limit=500"
	for path := all; path != ""; {
		var page struct {
			Items []struct {
				ID      string `json:"id"`
				State   string `json:"state"`
				Problem *struct {
					Type   string `json:"type"`
					Detail string `json:"detail"`
				} `json:"problem"`
			} `json:"items"`
			Next *string `json:"next_cursor"`
		}
		call := operator.send(ctx, Call{Op: OpOperator}, 0, http.MethodGet, path, r.AdminToken, nil, &page)
		if call.Outcome != OK {
			return nil, fmt.Errorf("asking for dead letters: %d %s", call.Status, call.Problem)
		}
		for _, item := range page.Items {
			d := Dead{ID: item.ID, State: item.State}
			if item.Problem != nil {
				d.Problem = item.Problem.Type + ": " + item.Problem.Detail
			}
			dead = append(dead, d)
		}
		path = ""
		if page.Next != nil && *page.Next != "" {
			path = all + "&cursor=" + *page.Next
		}
	}
	return dead, nil
}

func with(ctx context.Context, url string, fn func(*pgx.Conn) error) error {
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(limited, url)
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close(limited))
}

func each(ctx context.Context, conn *pgx.Conn, sql string, into []any, fn func()) error {
	result, err := conn.Query(ctx, sql)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(result, into, func() error {
		fn()
		return nil
	})
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestTwoProcessesFinishOneExecutionOnce: two API processes of one observatory
// are asked to finish the same execution at the same time. One does, the other
// is told that it is too late, every time.
func TestTwoProcessesFinishOneExecutionOnce(t *testing.T) {
	d := startDemo(t, "--no-night", "--rtt", "20", "--observatory-apis", "2")
	ready := d.ready()
	for round := range 20 {
		// Started at one process; the other has to learn of it, too.
		id := startScan(t, apiClient{base: ready.ObservatoryURLs[round%2], token: ready.Service})
		var status [2]int
		var together sync.WaitGroup
		gate := make(chan struct{})
		for i, base := range ready.ObservatoryURLs {
			together.Go(func() {
				client := apiClient{base: base, token: ready.Service}
				finish := map[string]any{"status": "completed", "end_time": time.Now().UTC().Add(time.Second), "comment": fmt.Sprintf("process %d", i)}
				<-gate
				// On a machine with much to do it may be told to come again, as clients are.
				for range 20 {
					_, err := client.send(t.Context(), http.MethodPut, "/executed_obs_units/"+id+"/finish", finish, nil, "Idempotency-Key", fmt.Sprintf("%s-%d", id, i))
					var refused *refusal
					switch {
					case err == nil:
						status[i] = http.StatusOK
					case errors.As(err, &refused):
						status[i] = refused.status
					default:
						t.Error(err)
					}
					if status[i] != http.StatusServiceUnavailable {
						return
					}
				}
			})
		}
		close(gate)
		together.Wait()
		if status != [2]int{200, 409} && status != [2]int{409, 200} {
			t.Errorf("round %d: the two processes answered %v", round, status)
		}
	}
}

// TestAPIKilledInMidRequestLosesAndDoublesNothing: clients write with a key each
// and repeat it until it is answered, while the API process is killed again and
// again: before, in and after the script that stores the write.
func TestAPIKilledInMidRequestLosesAndDoublesNothing(t *testing.T) {
	const kills, clients = 5, 6
	d := startDemo(t, "--no-night", "--rtt", "20")
	ready := d.ready()
	log, err := os.ReadFile(filepath.Join(ready.DataDir, "log", "api_observatory_1.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "credential could not be checked"); n > 20 {
		t.Errorf("starting logged %d credentials that could not be checked", n)
	}
	client := apiClient{base: ready.ObservatoryURL, token: ready.Service}
	unit := anyObsUnit(t, client)

	var mu sync.Mutex
	answered := map[string]string{} // key: id of the execution
	var unanswered, underWay atomic.Int64
	writing, end := context.WithCancel(t.Context())
	defer end()
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				key := fmt.Sprintf("crash-%d-%d", c, n)
				var made struct {
					ID string `json:"id"`
				}
				err := errors.New("not sent yet")
				for err != nil && t.Context().Err() == nil {
					// net/http itself repeats a request with a key: what was sent counts, not how it ended.
					var sent atomic.Int64
					traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(wrote httptrace.WroteRequestInfo) {
						if wrote.Err == nil {
							sent.Add(1)
						}
					}})
					underWay.Add(1)
					_, err = client.send(traced, http.MethodPost, "/executed_obs_units/start",
						map[string]any{"obs_unit_id": unit, "comment": key}, &made, "Idempotency-Key", key)
					underWay.Add(-1)
					var refused *refusal
					switch {
					case err == nil:
						unanswered.Add(sent.Load() - 1)
					case errors.As(err, &refused) && refused.status != http.StatusServiceUnavailable:
						t.Errorf("%s: %v", key, err)
						return
					default:
						if refused != nil {
							sent.Add(-1)
						}
						unanswered.Add(sent.Load())
						// The process is back within a second.
						select {
						case <-time.After(10 * time.Millisecond):
						case <-t.Context().Done():
						}
					}
				}
				mu.Lock()
				answered[key] = made.ID
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(answered)
	}
	for kill := range kills {
		before := count()
		d.wait(20*time.Second, "writes between two kills", func() bool { return count() >= before+5*clients })
		pid := d.ready().Pids.APIObservatory[0]
		d.wait(10*time.Second, "requests under way", func() bool { return underWay.Load() >= clients/2 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		d.wait(20*time.Second, "another API process", func() bool { return d.ready().Pids.APIObservatory[0] != pid })
	}
	after := count()
	d.wait(20*time.Second, "writes after the last kill", func() bool { return count() > after+clients })
	end()
	all.Wait()
	if unanswered.Load() == 0 {
		t.Fatalf("%d requests got no answer in %d kills: nothing was under way", unanswered.Load(), kills)
	}
	t.Logf("%d writes, %d requests without an answer", len(answered), unanswered.Load())

	for site, url := range map[string]string{"main": ready.MainDBURL, "the replica": ready.ReplicaDBURL} {
		var rows map[string][]string
		d.wait(30*time.Second, "every write at "+site, func() bool {
			rows = executionsByComment(t, url, "crash-%", "running")
			return len(rows) >= len(answered)
		})
		for key, id := range answered {
			if got := rows[key]; len(got) != 1 || got[0] != id {
				t.Errorf("%s: %s was answered with %s, and is there as %v", site, key, id, got)
			}
			delete(rows, key)
		}
		if len(rows) > 0 {
			t.Errorf("%s has executions that nobody asked for: %v", site, rows)
		}
	}
}

// executionsByComment are the ids of executions by their comment, of those whose
// comment is like a pattern and whose status is the one given.
func executionsByComment(t *testing.T, url, pattern, status string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := withPrimary(t.Context(), url, func(conn *pgx.Conn) error {
		result, err := conn.Query(t.Context(), "SELECT comment, id::text FROM executed_obs_unit WHERE comment LIKE $1 AND status::text = $2", pattern, status)
		if err != nil {
			return err
		}
		var key, id string
		_, err = pgx.ForEachRow(result, []any{&key, &id}, func() error {
			found[key] = append(found[key], id)
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

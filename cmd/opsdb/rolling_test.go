package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestRollingRestartWithAFullBuffer: with the link cut and a buffer of some thousand
// transactions, each API process of the observatory is told to stop and replaced by
// another one, while clients write at both; and again while what they wrote drains.
// Nobody is refused for good, nothing is lost or doubled, and who waits is answered.
func TestRollingRestartWithAFullBuffer(t *testing.T) {
	const full = 2500
	d := startDemo(t, "--no-night", "--rtt", "20", "--observatory-apis", "2")
	ready := d.ready()
	setLink(t, ready, map[string]any{"up": false})
	nights := newObservers(t, ready, 6)
	d.wait(4*time.Minute, "a full buffer", func() bool { return nights.size() >= full })

	for i := range ready.ObservatoryURLs {
		// Who waits for what cannot happen now is told how far it is before the process
		// ends. Without a key nothing sends it again.
		waiting := make(chan error, 1)
		client, id := apiClient{base: ready.ObservatoryURLs[i], token: ready.Service}, uuid.NewString()
		go func() {
			var made struct {
				Sync struct {
					State string `json:"state"`
				} `json:"sync"`
			}
			_, err := client.send(t.Context(), http.MethodPost, "/executed_obs_units/start",
				map[string]any{"id": id, "obs_unit_id": nights.unit}, &made, "Prefer", "wait=60")
			if err == nil && made.Sync.State != "buffered" {
				err = fmt.Errorf("it is %s while the link is down", made.Sync.State)
			}
			waiting <- err
		}()
		d.wait(30*time.Second, "the write that waits", func() bool {
			return client.get(t.Context(), "/executed_obs_units/"+id, nil) == nil
		})
		d.replace(ready, i, nights)
		if err := <-waiting; err != nil {
			t.Errorf("a client that waited while process %d was told to stop: %v", i, err)
		}
	}

	// On a narrow line a buffer that is full again drains for a while.
	for i := range ready.ObservatoryURLs {
		setLink(t, ready, map[string]any{"up": false})
		d.wait(4*time.Minute, "a full buffer", func() bool { return nights.size() >= full })
		before := nights.size()
		setLink(t, ready, map[string]any{"up": true, "bandwidth_kbps": 6000})
		d.wait(time.Minute, "draining", func() bool { return nights.size() < before-100 })
		if nights.size() == 0 {
			t.Error("the buffer was empty before a process was told to stop: nothing was on its way")
		}
		d.replace(ready, i, nights)
	}
	setLink(t, ready, map[string]any{"bandwidth_kbps": 0})
	nights.stop()
	t.Logf("%d observations, %d answers and connections failed and were mended by their key", len(nights.answered), nights.mended.Load())
	if nights.mended.Load() == 0 {
		t.Error("no client noticed that processes were replaced")
	}
	nights.checkDatabases(d)
}

// replace tells an API process of the observatory to stop, as an operator would, and
// waits until its successor serves and one of the processes drains.
func (d *runningDemo) replace(ready readyFile, i int, clients *observers) {
	t := d.t
	t.Helper()
	log := filepath.Join(ready.DataDir, "log", fmt.Sprintf("api_observatory_%d.log", i+1))
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	written := clients.count()
	pid := d.ready().Pids.APIObservatory[i]
	began := time.Now()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait(30*time.Second, "the end of the process", func() bool { return d.ready().Pids.APIObservatory[i] != pid })
	ended := time.Since(began)
	// The other one, or the successor when that was faster.
	d.wait(30*time.Second, "a process to drain", func() bool {
		return slices.ContainsFunc(ready.ObservatoryURLs, func(site string) bool {
			var health struct {
				Processor struct{ Status string } `json:"background_processor"`
			}
			return apiClient{base: site, token: ready.Admin}.get(t.Context(), "/health", &health) == nil && health.Processor.Status != "standby"
		})
	})
	passed := time.Since(began)
	successor := apiClient{base: ready.ObservatoryURLs[i], token: ready.Service}
	d.wait(30*time.Second, "the new process to serve", func() bool { return successor.get(t.Context(), "/health/ready", nil) == nil })
	d.wait(30*time.Second, "writes after it", func() bool { return clients.count() > written+20 })
	t.Logf("process %d: ended after %v, one drains after %v, its successor serves after %v", i, ended, passed, time.Since(began))
	after, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if words := string(after[len(before):]); !strings.Contains(words, "opsdb ends") || strings.Contains(words, "still under way") {
		t.Errorf("process %d did not stop in order: %s", i, words)
	}
}

// observers are clients that observe: each starts an execution at one process of the
// observatory, finishes it at another and reads it. What is refused with 503 or not
// answered they repeat with the same key at the other process, as clients should.
type observers struct {
	t     *testing.T
	ready readyFile
	unit  int64
	end   context.CancelFunc
	all   sync.WaitGroup

	mended   atomic.Int64 // requests that needed to be repeated
	mu       sync.Mutex
	answered map[string]string // comment: id of the execution
}

func newObservers(t *testing.T, ready readyFile, clients int) *observers {
	t.Helper()
	writing, end := context.WithCancel(t.Context())
	o := &observers{
		t: t, ready: ready, unit: anyObsUnit(t, apiClient{base: ready.ObservatoryURL, token: ready.Service}), end: end, answered: map[string]string{},
	}
	for c := range clients {
		o.all.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				if !o.observe(c+n, fmt.Sprintf("roll-%d-%d", c, n)) {
					return
				}
			}
		})
	}
	t.Cleanup(o.stop)
	return o
}

// observe is one observation; it returns false when something was refused for good.
func (o *observers) observe(at int, name string) bool {
	var made struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	if !o.send(at, http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": o.unit, "comment": name}, &made, name+"-start") {
		return false
	}
	if !o.send(at+1, http.MethodPut, "/executed_obs_units/"+made.ID+"/finish", map[string]any{"status": "completed"}, &made, name+"-finish") {
		return false
	}
	if !o.send(at, http.MethodGet, "/executed_obs_units/"+made.ID, nil, &made, "") {
		return false
	}
	if made.Status != "completed" {
		o.t.Errorf("%s is %s after it was finished", name, made.Status)
	}
	o.mu.Lock()
	o.answered[name] = made.ID
	o.mu.Unlock()
	return true
}

// send repeats a request at the two processes in turn until one answers it.
func (o *observers) send(at int, method, path string, in, out any, key string) bool {
	for tries := 0; ; tries++ {
		client := apiClient{base: o.ready.ObservatoryURLs[(at+tries)%2], token: o.ready.Service}
		var headers []string
		if key != "" {
			headers = []string{"Idempotency-Key", key}
		}
		_, err := client.send(o.t.Context(), method, path, in, out, headers...)
		var refused *refusal
		switch {
		case err == nil:
			return true
		case o.t.Context().Err() != nil:
			return false
		case errors.As(err, &refused) && refused.status != http.StatusServiceUnavailable:
			o.t.Errorf("%s %s with key %q, after %d tries: %v", method, path, key, tries, err)
			return false
		}
		o.mended.Add(1)
		select {
		case <-time.After(10 * time.Millisecond):
		case <-o.t.Context().Done():
		}
	}
}

func (o *observers) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.answered)
}

// size is how many transactions wait, as whichever process answers says.
func (o *observers) size() int {
	var stats struct {
		Size int `json:"size"`
	}
	for at := 0; o.t.Context().Err() == nil; at++ {
		client := apiClient{base: o.ready.ObservatoryURLs[at%2], token: o.ready.Admin}
		if err := client.get(o.t.Context(), "/buffer-stats", &stats); err == nil {
			break
		}
	}
	return stats.Size
}

// stop lets every client finish what it has begun.
func (o *observers) stop() {
	o.end()
	o.all.Wait()
}

// checkDatabases waits for every observation at both databases, and compares.
func (o *observers) checkDatabases(d *runningDemo) {
	o.t.Helper()
	for site, url := range map[string]string{"main": o.ready.MainDBURL, "the replica": o.ready.ReplicaDBURL} {
		var rows map[string][]string
		d.wait(2*time.Minute, "every write at "+site, func() bool {
			rows = executionsByComment(o.t, url, "roll-%", "completed")
			return len(rows) >= len(o.answered)
		})
		for name, id := range o.answered {
			if got := rows[name]; len(got) != 1 || got[0] != id {
				o.t.Errorf("%s: %s was answered with %s, and is there as %v", site, name, id, got)
			}
		}
	}
}

// setLink changes the line between the sites.
func setLink(t *testing.T, ready readyFile, change map[string]any) {
	t.Helper()
	link := apiClient{base: ready.LinkURL}
	if _, err := link.send(t.Context(), http.MethodPut, "/link", change, nil); err != nil {
		t.Fatal(err)
	}
}

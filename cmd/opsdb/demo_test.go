package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runningDemo is `opsdb demo` as a process of its own.
type runningDemo struct {
	t         *testing.T
	cmd       *exec.Cmd
	readyFile string
	out       *output
	ended     chan error
	secrets   []string // that nobody may say, beside those of the ready file

	processesMu sync.Mutex
	processes   map[string]bool // command lines that the list of processes has shown
}

// output gathers what a process prints, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String implements fmt.Stringer.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startDemo builds this program and starts its demo; the test ends it.
func startDemo(t *testing.T, flags ...string) *runningDemo {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	dir, binary := t.TempDir(), buildProgram(t)
	d := &runningDemo{t: t, readyFile: filepath.Join(dir, "ready.json"), out: &output{}, ended: make(chan error, 1), processes: map[string]bool{}}
	d.cmd = exec.Command(binary, append([]string{"demo", "--ready-file", d.readyFile}, flags...)...)
	d.cmd.Env = append(os.Environ(), "LOG_LEVEL=debug") // saysNoSecret reads all of it
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.ended <- d.cmd.Wait() }()
	unwatch := d.watchProcesses()
	t.Cleanup(func() {
		defer unwatch()
		if d.cmd.ProcessState == nil {
			d.stop()
		}
	})
	return d
}

// buildProgram builds this program for a test.
func buildProgram(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "opsdb")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return binary
}

// wait waits for something, and fails at once when the demo has ended before.
func (d *runningDemo) wait(limit time.Duration, what string, done func() bool) {
	d.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case err := <-d.ended:
			d.ended <- err
			d.t.Fatalf("waiting for %s the demo ended: %v\n%s", what, err, d.out)
		case <-deadline.C:
			d.t.Fatalf("after %v still waiting for %s", limit, what)
		case <-tick.C:
		}
	}
}

// ready waits for the ready file and reads it.
func (d *runningDemo) ready() readyFile {
	d.t.Helper()
	var ready readyFile
	d.wait(90*time.Second, "the ready file", func() bool {
		content, err := os.ReadFile(d.readyFile)
		if errors.Is(err, os.ErrNotExist) {
			return false
		}
		if err == nil {
			err = json.Unmarshal(content, &ready)
		}
		if err != nil {
			d.t.Fatalf("the ready file: %v: %s", err, content)
		}
		return true
	})
	return ready
}

// stop interrupts the demo and waits for its end.
func (d *runningDemo) stop() {
	d.t.Helper()
	d.saysNoSecret()
	began := time.Now()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		d.t.Errorf("interrupting the demo: %v", err)
		return
	}
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Errorf("the demo ended with %v\n%s", err, d.out)
		}
		d.t.Logf("ended in %v", time.Since(began))
	case <-time.After(20 * time.Second):
		d.t.Errorf("20 s after the interrupt the demo still runs")
		if err := d.cmd.Process.Kill(); err != nil {
			d.t.Error(err)
		}
	}
}

// pids names every process of a ready file.
func (p readyPids) all() map[string]int {
	pids := map[string]int{"primary": p.Primary, "replica": p.Replica, "redis": p.Redis, "api_main": p.APIMain}
	for i, pid := range p.APIObservatory {
		pids[fmt.Sprintf("api_observatory %d", i)] = pid
	}
	return pids
}

func TestDemoOutlivesTheKillingOfEachProcessAndLeavesNothing(t *testing.T) {
	d := startDemo(t, "--no-night", "--rtt", "20", "--observatory-apis", "2")
	ready := d.ready()
	for name, value := range map[string]string{
		"main_url": ready.MainURL, "observatory_url": ready.ObservatoryURL, "admin_token": ready.Admin, "observer_token": ready.Observer,
		"service_token": ready.Service, "viewer_token": ready.Viewer, "main_db_url": ready.MainDBURL, "replica_db_url": ready.ReplicaDBURL,
		"redis_url": ready.RedisURL, "data_dir": ready.DataDir, "link_url": ready.LinkURL,
	} {
		if value == "" {
			t.Errorf("%s is empty", name)
		}
	}
	if len(ready.ObservatoryURLs) != 2 || ready.ObservatoryURLs[0] != ready.ObservatoryURL || len(ready.Pids.APIObservatory) != 2 {
		t.Errorf("with two APIs: %+v", ready)
	}

	client := apiClient{base: ready.ObservatoryURL, token: ready.Service}
	unit := startScan(t, client)
	for name := range ready.Pids.all() {
		before := d.ready().Pids.all()[name]
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatalf("killing %s (%d): %v", name, before, err)
		}
		d.wait(20*time.Second, name+" with another pid", func() bool {
			now := d.ready().Pids.all()[name]
			return now != before && syscall.Kill(now, 0) == nil
		})
		for _, base := range append(ready.ObservatoryURLs, ready.MainURL) {
			api := apiClient{base: base, token: ready.Viewer}
			d.wait(30*time.Second, base+" to serve after the death of "+name, func() bool {
				return api.get(t.Context(), "/health/ready", nil) == nil && api.get(t.Context(), "/executed_obs_units/"+unit, nil) == nil
			})
		}
	}

	last := d.ready()
	d.stop()
	for name, pid := range last.Pids.all() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s (%d) is left: %v", name, pid, err)
		}
	}
	for _, path := range []string{d.readyFile, ready.DataDir} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// startScan starts an execution of any obs unit and returns its id.
func startScan(t *testing.T, client apiClient) string {
	t.Helper()
	var unit struct {
		ID string `json:"id"`
	}
	if _, err := client.send(t.Context(), http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": anyObsUnit(t, client)}, &unit); err != nil {
		t.Fatal(err)
	}
	return unit.ID
}

// anyObsUnit is the id of a seeded obs unit.
func anyObsUnit(t *testing.T, client apiClient) int64 {
	t.Helper()
	var units struct {
		Items []struct {
			ID int64 `json:"id"`
		} `json:"items"`
	}
	if err := client.get(t.Context(), "/obs_unit?limit=1", &units); err != nil {
		t.Fatal(err)
	}
	if len(units.Items) != 1 {
		t.Fatal("there is no obs unit")
	}
	return units.Items[0].ID
}

func TestDemoPlaysTheNightAndAgainOnKeptData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	for _, keep := range []bool{true, false} {
		flags := []string{"--rtt", "20ms", "--dir", dir}
		if keep {
			flags = append(flags, "--keep")
		}
		d := startDemo(t, flags...)
		d.wait(3*time.Minute, "the end of the night", func() bool { return strings.Contains(d.out.String(), "Ten commands to try") })
		if !strings.Contains(d.out.String(), "both sites are equal, row by row") {
			t.Errorf("the sites were not compared:\n%s", d.out)
		}
		t.Log(d.out)
		d.stop()
	}
}

func TestRoundTripFlag(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "250": 250 * time.Millisecond, "0": 0, "0.5s": 500 * time.Millisecond, "-1ms": -1, "slow": -1, "2h": -1,
	} {
		var got roundTrip
		err := got.Set(text)
		if (err != nil) != (want < 0) || want >= 0 && time.Duration(got) != want {
			t.Errorf("%q is %v, %v", text, time.Duration(got), err)
		}
	}
}

func TestDifferencesNamesEveryRowThatIsNotTheSame(t *testing.T) {
	got := differences(map[string]string{"a": "1", "b": "1", "c": "1"}, map[string]string{"a": "1", "b": "2", "d": "1"})
	if want := []string{"b", "c", "d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

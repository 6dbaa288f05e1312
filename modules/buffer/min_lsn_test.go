package buffer

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// counted is a read like those of the product's records.
type counted struct {
	api.ReadAt
	Body NoteCount
}

// NoteCount is how many notes there are.
type NoteCount struct {
	Notes int `json:"notes"`
}

// counter serves GET /notes at the site of m.
func counter(t *testing.T, m *Module, limit time.Duration) http.Handler {
	t.Helper()
	return serveCount(t, m.config.Site, m.config.Reader, limit, m.Replayed)
}

func serveCount(t *testing.T, site string, reader *pending.Reader, limit time.Duration, replayed func(context.Context, string, time.Time) (context.Context, error)) http.Handler {
	t.Helper()
	r, err := api.New(api.Options{Site: site, LSNTimeout: limit, Replayed: replayed})
	if err != nil {
		t.Fatal(err)
	}
	api.Register(r, api.Op{ID: "count-notes", Method: "GET", Path: "/notes", Summary: "x", Permission: api.Open, Tags: []string{"ui"}},
		func(ctx context.Context, _ *struct{ api.Read }) (*counted, error) {
			out := &counted{}
			return out, reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
				out.ReplayLSN = s.ReplayLSN
				return s.DB.QueryRow(ctx, "SELECT count(*) FROM note").Scan(&out.Body.Notes)
			})
		})
	return r.Handler()
}

func count(h http.Handler, position string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("GET", "/notes", nil)
	if position != "" {
		request.Header.Set("X-Min-LSN", position)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

var position = regexp.MustCompile(`^1:[0-9A-F]+/[0-9A-F]+$`)

func TestAReadWaitsForThePositionItNames(t *testing.T) {
	t.Parallel()
	s := alone(t, sandbox.Options{})
	for name, noLSN := range map[string]bool{"with LSN_TRACKING": false, "without": true} {
		m := make1(t, s, func(c *Config) { c.NoLSN = noLSN })
		start(t, m)
		patient, hasty := counter(t, m, 30*time.Second), counter(t, m, 100*time.Millisecond)
		before := count(patient, "")
		if at := before.Header().Get("X-Replay-LSN"); before.Code != 200 || !position.MatchString(at) {
			t.Fatalf("%s: %d, X-Replay-LSN %q, want <timeline>:<X/Y>", name, before.Code, at)
		}
		if again := count(patient, before.Header().Get("X-Replay-LSN")); again.Code != 200 {
			t.Errorf("%s: what X-Replay-LSN gave: %d %s", name, again.Code, again.Body)
		}

		s.PauseReplay(t)
		receipt := txntest.EditNote(t, s.Direct, txntest.Edit{ID: txntest.Note(t, s.Direct, "x", nil), Body: "y", Status: "open"})
		if same := count(patient, ""); same.Body.String() != before.Body.String() {
			t.Fatalf("%s: the replica is not behind: %s", name, same.Body)
		}
		if late := count(hasty, receipt.CommitLSN); late.Code != 504 {
			t.Errorf("%s: while replay is paused: %d %s, want 504 not-replicated-in-time", name, late.Code, late.Body)
		}
		if other := count(patient, "9"+receipt.CommitLSN); other.Code != 409 {
			t.Errorf("%s: another timeline: %d %s, want 409 timeline-changed", name, other.Code, other.Body)
		}
		for _, bad := range []string{"0:1/1", "9999999999:1/1"} {
			if refused := count(patient, bad); refused.Code != 422 {
				t.Errorf("%s: %s: %d %s, want 422", name, bad, refused.Code, refused.Body)
			}
		}
		answers := make(chan *httptest.ResponseRecorder, 1)
		go func() { answers <- count(patient, receipt.CommitLSN) }()
		sandboxtest.Eventually(t, 5*time.Second, "the read to wait", m.tracker.Waited)
		s.ResumeReplay(t)
		if now := <-answers; now.Code != 200 || now.Body.String() == before.Body.String() {
			t.Errorf("%s: after the wait: %d %s, want what was written (before: %s)", name, now.Code, now.Body, before.Body)
		}
	}
}

func TestAtMainEveryPositionIsThere(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := mainSite(t, s)
	m.config.Reader = s.MainReader
	h := counter(t, m, 200*time.Millisecond)
	receipt := txntest.EditNote(t, s.Direct, txntest.Edit{ID: txntest.Note(t, s.Direct, "x", nil), Body: "y", Status: "open"})
	answer := count(h, receipt.CommitLSN)
	if at := answer.Header().Get("X-Replay-LSN"); answer.Code != 200 || !position.MatchString(at) {
		t.Errorf("%d %s, X-Replay-LSN %q", answer.Code, answer.Body, at)
	}
	if other := count(h, "2"+receipt.CommitLSN[1:]); other.Code != 409 {
		t.Errorf("another timeline: %d %s, want 409", other.Code, other.Body)
	}
	if future := count(h, "1:FFFFFFFF/0"); future.Code != 504 {
		t.Errorf("a position that nobody was given: %d %s, want 504", future.Code, future.Body)
	}
}

// A replica may have gone back after it was seen to be far enough: what counts is
// what the read itself sees.
func TestAReadUsesNoSnapshotThatLacksItsPosition(t *testing.T) {
	t.Parallel()
	s := alone(t, sandbox.Options{})
	waited := make(chan struct{}, 1)
	handler := func(limit time.Duration) http.Handler {
		// It was there when the request came, and is not any more.
		return serveCount(t, s.Site, s.Reader, limit, func(ctx context.Context, position string, until time.Time) (context.Context, error) {
			waited <- struct{}{}
			at, err := lsn.ParsePosition(position)
			return pending.WithMinLSN(ctx, at, until), err
		})
	}
	before := count(handler(time.Second), "")
	s.PauseReplay(t)
	receipt := txntest.EditNote(t, s.Direct, txntest.Edit{ID: txntest.Note(t, s.Direct, "x", nil), Body: "y", Status: "open"})
	if late := count(handler(100*time.Millisecond), receipt.CommitLSN); late.Code != 504 {
		t.Errorf("a replica that shows less: %d %s, want 504 not-replicated-in-time", late.Code, late.Body)
	}
	<-waited
	if other := count(handler(30*time.Second), "2"+receipt.CommitLSN[1:]); other.Code != 409 {
		t.Errorf("another timeline: %d %s, want 409 timeline-changed", other.Code, other.Body)
	}
	<-waited
	answers := make(chan *httptest.ResponseRecorder, 1)
	go func() { answers <- count(handler(time.Minute), receipt.CommitLSN) }()
	<-waited
	s.ResumeReplay(t)
	if now := <-answers; now.Code != 200 || now.Body.String() == before.Body.String() {
		t.Errorf("once it is replayed: %d %s, want what was written (before: %s)", now.Code, now.Body, before.Body)
	}
}

// A replica that has followed main to a new timeline and then lost its connection
// does not know from its control file that it has: until its next restart point
// that names the old one.
func TestAReplicaCutOffAfterAFailoverClaimsNoTimeline(t *testing.T) {
	t.Parallel()
	s := alone(t, sandbox.Options{Standby: true})
	ctx := sandboxtest.Context(t)
	m := make1(t, s)
	start(t, m)
	patient, hasty := counter(t, m, time.Minute), counter(t, m, 300*time.Millisecond)
	down, up := false, true

	must(t, s.Stack.WaitForStandby(ctx))
	must(t, s.Stack.Link.Apply(sandbox.Change{Up: &down}, sandbox.ReplicationLine))
	must(t, s.Stack.HoldStandby())
	lost := txntest.EditNote(t, s.Direct, txntest.Edit{ID: txntest.Note(t, s.Direct, "lost", nil), Body: "lost", Status: "open"}).CommitLSN
	must(t, s.Stack.FailOver(ctx))
	must(t, s.Stack.Link.Apply(sandbox.Change{Up: &up}, sandbox.ReplicationLine))
	// The new timeline grows beyond where the lost write was on the old one.
	var kept string
	sandboxtest.Eventually(t, time.Minute, "the new primary to be beyond the old one", func() bool {
		if _, err := s.Direct.Write(ctx, txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "kept", nil))
			return nil
		}); err != nil {
			return false // it is being found
		}
		kept = oldPosition(t, s).String()
		return kept[:2] == "2:" && !after(t, lost, kept)
	})
	if shown := count(patient, kept); shown.Code != 200 && shown.Code != 409 {
		t.Fatalf("%d %s", shown.Code, shown.Body)
	}
	sandboxtest.Eventually(t, time.Minute, "the replica to show it", func() bool { return count(patient, kept).Code == 200 })

	must(t, s.Stack.Link.Apply(sandbox.Change{Up: &down}, sandbox.ReplicationLine))
	sandboxtest.Eventually(t, time.Minute, "the replica to notice the cut", func() bool {
		n, err := s.Stack.Replica.Text(ctx, s.Database, "SELECT count(*)::text FROM pg_stat_wal_receiver")
		return err == nil && n == "0"
	})
	if timeline, err := s.Stack.Replica.Text(ctx, s.Database, "SELECT greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline)::text"); err != nil || timeline != "1" {
		t.Fatalf("the replica's control file knows timeline %s (%v): the test shows nothing", timeline, err)
	}
	if answer := count(hasty, lost); answer.Code == 200 {
		t.Errorf("a read with the position of a lost write is answered: %s", answer.Body)
	}
	if answer := count(hasty, kept); answer.Code != 504 {
		t.Errorf("a read with the position of a write that is there: %d %s, want 504 as long as it is not sure", answer.Code, answer.Body)
	}
	shown := count(hasty, "").Header().Get("X-Replay-LSN")
	if answer := count(hasty, shown); answer.Code != 200 {
		t.Errorf("a read with what X-Replay-LSN said (%s): %d %s", shown, answer.Code, answer.Body)
	}

	must(t, s.Stack.Link.Apply(sandbox.Change{Up: &up}, sandbox.ReplicationLine))
	if answer := count(patient, kept); answer.Code != 200 {
		t.Errorf("once the replica is connected again: %d %s", answer.Code, answer.Body)
	}
	if answer := count(patient, lost); answer.Code != 409 {
		t.Errorf("and with the position of the lost write: %d %s, want 409", answer.Code, answer.Body)
	}
}

// after reports whether position a is numerically beyond b.
func after(t *testing.T, a, b string) bool {
	t.Helper()
	x, errX := lsn.ParsePosition(a)
	y, errY := lsn.ParsePosition(b)
	must(t, errors.Join(errX, errY))
	return x.LSN > y.LSN
}

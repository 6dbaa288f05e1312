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
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
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
	r, err := api.New(api.Options{Site: m.config.Site, LSNTimeout: limit, Replayed: m.Replayed})
	if err != nil {
		t.Fatal(err)
	}
	api.Register(r, api.Op{ID: "count-notes", Method: "GET", Path: "/notes", Summary: "x", Permission: api.Open, Tags: []string{"ui"}},
		func(ctx context.Context, _ *struct{ api.Read }) (*counted, error) {
			out := &counted{}
			return out, m.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
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
	if err := m.Replayed(t.Context(), "2:0/1"); !errors.Is(err, problem.TimelineChanged) {
		t.Errorf("got %v", err)
	}
}

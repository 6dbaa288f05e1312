package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

// drain starts the processor of a secondary site, until the test ends.
func (s *served) drain(t testing.TB) {
	t.Helper()
	if s.store == nil {
		return
	}
	m, err := buffer.New(buffer.Config{
		Site: s.Site, Store: s.store, Reader: s.reader, Replica: s.db, PrimaryURL: s.ProcessorURL, Catalog: s.catalog, Problems: s.problems,
		RetryAttempts: 1, RetryDelay: time.Hour, Logger: observetest.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Start(context.Background())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Errorf("stopping the processor: %v", err)
		}
	})
	s.replicated(t)
}

// replicated waits until nothing of the site is pending any more.
func (s *served) replicated(t testing.TB) {
	t.Helper()
	sandboxtest.Eventually(t, time.Minute, "the events to be at main and back", func() bool {
		view, err := s.store.CatchUp(sandboxtest.Context(t)) // other processes have appended too
		if err != nil {
			t.Fatal(err)
		}
		c := view.Counts()
		return c.Buffered+c.Applied == 0
	})
}

// verify looks at the whole audit log and expects so many events.
func (s *served) verify(t testing.TB, events int64) auth.Verdict {
	t.Helper()
	verdict, err := s.admin.VerifyAudit(sandboxtest.Context(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if verdict.Events != events {
		t.Errorf("%d events at main, want %d: %+v", verdict.Events, events, verdict)
	}
	return verdict
}

func TestWhatIsDoneIsInTheAuditLog(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		made := s.do(t, boss, "POST", "/users", map[string]any{"username": "svc", "roles": []string{"service"}}, "Idempotency-Key", "k", "X-Request-Id", "req-1").want(http.StatusCreated)
		path := fmt.Sprintf("/users/%v", made["id"])
		s.do(t, boss, "POST", "/users", map[string]any{"username": "svc", "roles": []string{"service"}}, "Idempotency-Key", "k").want(http.StatusCreated)
		s.do(t, boss, "PATCH", path+"?validate_only=true", map[string]any{"full_name": "x"}).want(http.StatusOK)
		s.do(t, boss, "PATCH", path, map[string]any{"full_name": "a\u2028<b>\"\\ü"}).want(http.StatusOK)
		role := s.do(t, boss, "GET", "/roles/viewer", nil).want(http.StatusOK)
		s.do(t, boss, "PUT", "/roles/viewer", map[string]any{"description": "x", "permissions": role["permissions"]}).want(http.StatusOK)
		token := s.do(t, boss, "POST", "/api/tokens", map[string]any{"name": "laptop"}).want(http.StatusCreated)
		s.do(t, boss, "DELETE", fmt.Sprintf("/api/tokens/%v", token["id"]), nil).want(http.StatusNoContent)

		want := []string{"token.revoke", "token.create", "role.update", "user.update", "user.create"}
		page := s.do(t, boss, "GET", "/audit?count=true", nil)
		if got := names(page.want(http.StatusOK), "action"); fmt.Sprint(got) != fmt.Sprint(want) || !strings.Contains(page.body, `"total":5`) {
			t.Errorf("the log has %v, want %v: %s", got, want, page.body)
		}
		if strings.Contains(page.body, token["token"].(string)[20:]) {
			t.Error("the log has a secret")
		}
		first := s.do(t, boss, "GET", "/audit?action=user.create", nil).want(http.StatusOK)["items"].([]any)[0].(map[string]any)
		if first["user_id"] != float64(s.id(t, "boss")) || first["row_id"] != fmt.Sprint(made["id"]) || first["table_name"] != "app_user" || first["prev_hash"] != "" || first["request_id"] == "" {
			t.Errorf("the first event: %v", first)
		}
		// Whoever tries what he may not is worth noting, if it is to manage something, and only so often.
		s.do(t, "login:svc", "GET", "/audit", nil).want(http.StatusForbidden)
		want = append([]string{"permission.refused"}, want...)
		last := s.do(t, boss, "GET", "/audit?action=permission.refused", nil).want(http.StatusOK)["items"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(map[string]any{"operation": "list-audit-events", "permission": "read:audit"}, last["detail"]); diff != "" || last["user_id"] != made["id"] {
			t.Errorf("the refusal (-want +got):\n%s%v", diff, last)
		}
		// Page by page it is the same.
		var walked []string
		for next := "/audit?limit=2"; next != ""; {
			page := s.do(t, boss, "GET", next, nil).want(http.StatusOK)
			walked, next = append(walked, names(page, "action")...), ""
			if cursor, ok := page["next_cursor"].(string); ok {
				next = "/audit?limit=2&cursor=" + cursor
			}
		}
		if fmt.Sprint(walked) != fmt.Sprint(want) {
			t.Errorf("page by page: %v", walked)
		}

		s.drain(t)
		if verdict := s.verify(t, 6); len(verdict.Broken) > 0 || len(verdict.Sites) != 1 || verdict.Sites[0].Chains != 1 {
			t.Errorf("verdict %+v", verdict)
		}
		if got := names(s.do(t, boss, "GET", "/audit", nil).want(http.StatusOK), "action"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("replicated, the log has %v", got)
		}
	})
}

// TestNobodyFillsTheAuditLogWithRefusals: a script that asks in vain leaves ten events a minute, and does not hide who else
// does; of many users in one minute, those after the tenth share ten.
func TestNobodyFillsTheAuditLogWithRefusals(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "ada", "viewer")
		for range 25 {
			s.do(t, "login:ada", "POST", "/users", map[string]any{"username": "x", "roles": []string{"admin"}}).want(http.StatusForbidden)
		}
		if got := names(s.do(t, boss, "GET", "/audit?action=permission.refused", nil).want(http.StatusOK), "action"); len(got) != 10 {
			t.Errorf("%d of 25 are recorded, want 10", len(got))
		}
		s.user(t, "eve", "viewer")
		s.do(t, "login:eve", "GET", "/audit", nil).want(http.StatusForbidden)
		if got := s.do(t, boss, "GET", "/audit?action=permission.refused", nil).want(http.StatusOK)["items"].([]any); len(got) != 11 ||
			got[0].(map[string]any)["user_id"] != float64(s.id(t, "eve")) || got[0].(map[string]any)["detail"].(map[string]any)["not_recorded_before"] != float64(15) {
			t.Errorf("behind another's 25, eve's one is hidden: %v", got)
		}
	})
}

// TestGuessingIsInTheAuditLog: an address that guesses leaves an event, and no more than one for each guess that it still
// has.
func TestGuessingIsInTheAuditLog(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		for range 40 {
			guess, err := auth.NewTokenText()
			if err != nil {
				t.Fatal(err)
			}
			s.do(t, guess, "GET", "/auth/me", nil)
		}
		got := s.do(t, boss, "GET", "/audit?action=credential.guessing", nil).want(http.StatusOK)["items"].([]any)
		if len(got) < 1 || len(got) > 10 {
			t.Fatalf("%d events", len(got))
		}
		if event := got[0].(map[string]any); event["detail"].(map[string]any)["address"] != "192.0.2.1" || event["user_id"] != nil {
			t.Errorf("the event: %v", event)
		}
	})
}

// TestSeveralProcessesAppendToOneChain: whoever is faster, no event is lost and none
// follows the same one as another.
func TestSeveralProcessesAppendToOneChain(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		const processes, each = 4, 6
		var all sync.WaitGroup
		for p := range processes {
			log := s.log(t)
			all.Go(func() {
				for n := range each {
					log.Record(sandboxtest.Context(t), auth.Event{Action: "test.event", Detail: map[string]any{"process": p, "n": n}})
				}
			})
		}
		all.Wait()
		s.drain(t)
		if verdict := s.verify(t, processes*each); len(verdict.Broken) > 0 || verdict.Sites[0].Chains != 1 {
			t.Errorf("verdict %+v", verdict)
		}
	})
}

// TestWhatIsDoneAtMainIsCommittedWithItsEvent: neither is there without the other, however a process ends between the two.
func TestWhatIsDoneAtMainIsCommittedWithItsEvent(t *testing.T) {
	t.Parallel()
	s := serve(t, false)
	s.user(t, "boss", "admin")
	made := s.do(t, boss, "POST", "/users", map[string]any{"username": "svc", "roles": []string{"service"}}).want(http.StatusCreated)
	s.do(t, boss, "PATCH", fmt.Sprintf("/users/%v", made["id"]), map[string]any{"full_name": "x"}).want(http.StatusOK)
	role := s.do(t, boss, "GET", "/roles/viewer", nil).want(http.StatusOK)
	s.do(t, boss, "PUT", "/roles/viewer", map[string]any{"description": "x", "permissions": role["permissions"]}).want(http.StatusOK)
	token := s.do(t, boss, "POST", "/api/tokens", map[string]any{"name": "laptop"}).want(http.StatusCreated)
	s.do(t, boss, "DELETE", fmt.Sprintf("/api/tokens/%v", token["id"]), nil).want(http.StatusNoContent)
	s.do(t, "", "POST", "/api/demo/create-demo-token", map[string]any{"role": "viewer"}).want(http.StatusCreated)

	rows, err := s.Primary(t).Query(sandboxtest.Context(t), `SELECT l.operation || ' ' || t.action FROM audit_event t
		JOIN applied_transaction l ON l.changes @> jsonb_build_array(jsonb_build_object('table', 'audit_event', 'id', t.id)) ORDER BY t.at`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"create-user user.create", "update-user user.update", "replace-role role.update", "create-api-token token.create", "revoke-api-token token.revoke", "create-demo-token token.create"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transactions and their events (-want +got):\n%s", diff)
	}
	if verdict := s.verify(t, 6); len(verdict.Broken) > 0 || verdict.Sites[0].Chains != 1 {
		t.Errorf("verdict %+v", verdict)
	}

	// An event that cannot be written leaves nothing done.
	s.Exec(t, "ALTER TABLE audit_event ADD CONSTRAINT audit_event_none CHECK (action <> 'user.update') NOT VALID")
	s.do(t, boss, "PATCH", fmt.Sprintf("/users/%v", made["id"]), map[string]any{"full_name": "y"})
	if got := s.do(t, boss, "GET", fmt.Sprintf("/users/%v", made["id"]), nil).want(http.StatusOK)["full_name"]; got != "x" {
		t.Errorf("without its event the user was changed: %v", got)
	}
}

// TestEventsOfManyWritersAtOnce: each is chained anew when another was faster, and its action is carried out once.
func TestEventsOfManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, false)
	const processes, each = 4, 4
	var all sync.WaitGroup
	for p := range processes {
		log := s.log(t)
		all.Go(func() {
			for n := range each {
				name := fmt.Sprintf("svc-%d-%d", p, n)
				_, err := log.Write(sandboxtest.Context(t), s.direct, txn.Request{Operation: "test", Actor: "user:boss"}, func() auth.Event { return auth.Event{Action: "user.update", Row: name} },
					func(ctx context.Context, tx *txn.Builder) error {
						tx.Add(auth.EndSessions{UserID: 1, At: tx.Now()})
						return nil
					})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	all.Wait()
	if verdict := s.verify(t, processes*each); len(verdict.Broken) > 0 || verdict.Sites[0].Chains != 1 {
		t.Errorf("verdict %+v", verdict)
	}
	var done int
	if err := s.Primary(t).QueryRow(sandboxtest.Context(t), "SELECT count(*) FROM applied_transaction WHERE operation = 'test'").Scan(&done); err != nil || done != processes*each {
		t.Errorf("%d transactions, %v", done, err)
	}
}

// TestBrokenAuditLogIsNoticed: whatever a hand at the database does.
func TestBrokenAuditLogIsNoticed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ do, says string }{
		"nothing":               {"SELECT 1", ""},
		"a detail is changed":   {`UPDATE audit_event SET detail = '{"n": 99}' WHERE detail ->> 'n' = '2'`, "it was changed"},
		"a time is changed":     {"UPDATE audit_event SET at = at + interval '1 microsecond' WHERE detail ->> 'n' = '2'", "it was changed"},
		"changed with its hash": {`UPDATE audit_event SET action = 'other', hash = repeat('0', 64) WHERE detail ->> 'n' = '2'`, "it was changed"},
		"the first is taken":    {"DELETE FROM audit_event WHERE detail ->> 'n' = '0'", "missing"},
		"one is taken":          {"DELETE FROM audit_event WHERE detail ->> 'n' = '2'", "missing"},
		"the last is taken":     {"DELETE FROM audit_event WHERE detail ->> 'n' = '4'", "missing"},
		"all are taken":         {"DELETE FROM audit_event", "missing"},
		"another site's":        {`UPDATE applied_transaction SET site = 'observatory' WHERE operation = 'record-audit-event' AND changes::text LIKE '%"n": 2%'`, "by another site"},
		"one is put in":         {"INSERT INTO audit_event SELECT gen_random_uuid(), at + interval '1 hour', site, user_id, token_id, action, table_name, row_id, detail, request_id, hash, repeat('1', 64), created_at FROM audit_event WHERE detail ->> 'n' = '4'", "put in by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, false)
			for n := range 5 {
				s.log(t).Record(sandboxtest.Context(t), auth.Event{Action: "test.event", Detail: map[string]any{"n": n}})
			}
			if verdict := s.verify(t, 5); len(verdict.Broken) > 0 {
				t.Fatalf("before anything was done: %+v", verdict)
			}
			s.Exec(t, c.do)
			verdict, err := s.admin.VerifyAudit(sandboxtest.Context(t), "")
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, broken := range verdict.Broken {
				found = found || strings.Contains(broken.Wrong, c.says)
			}
			if found != (c.says != "") {
				t.Errorf("verdict %+v, want one that says %q", verdict, c.says)
			}
		})
	}
}

func TestAuditLogGoesOnWithTheLinkCut(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	s.user(t, "boss", "admin")
	s.cut(t)
	s.log(t).Record(sandboxtest.Context(t), auth.Event{Action: "test.event"})
	s.log(t).Record(sandboxtest.Context(t), auth.Event{Action: "test.event"})
	items := s.do(t, boss, "GET", "/audit", nil).want(http.StatusOK)["items"].([]any)
	if len(items) != 2 || items[0].(map[string]any)["prev_hash"] != items[1].(map[string]any)["hash"] || fmt.Sprint(items[0].(map[string]any)["sync"].(map[string]any)["state"]) != "buffered" {
		t.Errorf("while the link is cut: %v", items)
	}
}

// TestChainBeginsAnewWhenItsEndIsNotKnown: an event is never held back, and what it could
// not follow is said.
func TestChainBeginsAnewWhenItsEndIsNotKnown(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	s.log(t).Record(sandboxtest.Context(t), auth.Event{Action: "test.before"})
	s.drain(t)
	blind := txn.NewBuffered(txn.BufferedConfig{
		Store: s.store, Reader: pending.NewReader(unreadable(t), s.store, s.Site, pending.Limits{}), Catalog: s.catalog, Problems: s.problems, Site: s.Site, SiteID: s.SiteID,
	})
	log := auth.NewLog(auth.LogConfig{Writer: blind, Site: s.Site, Logger: observetest.Logger(t)})
	log.Record(sandboxtest.Context(t), auth.Event{Action: "test.blind"})
	log.Record(sandboxtest.Context(t), auth.Event{Action: "test.after"})
	s.replicated(t)
	if verdict := s.verify(t, 3); len(verdict.Broken) > 0 || verdict.Sites[0].Chains != 2 {
		t.Errorf("verdict %+v", verdict)
	}
	var detail string
	if err := s.Primary(t).QueryRow(sandboxtest.Context(t), "SELECT detail ->> 'chain' FROM audit_event WHERE action = 'test.blind'").Scan(&detail); err != nil || !strings.HasPrefix(detail, "begins anew") {
		t.Errorf("the event says %q, %v", detail, err)
	}
}

// TestEventThatCannotBeRecordedIsLogged: what was done stays done, and somebody is told.
func TestEventThatCannotBeRecordedIsLogged(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	log := auth.NewLog(auth.LogConfig{Writer: refusing{}, Site: "x", Logger: slog.New(slog.NewMultiHandler(slog.NewJSONHandler(&said, nil), observetest.Logger(t).Handler()))})
	log.Record(sandboxtest.Context(t), auth.Event{Action: "test.event", Detail: map[string]any{"n": 1}})
	var line map[string]any
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || line["level"] != "ERROR" || line["action"] != "test.event" {
		t.Errorf("logged %s, %v", said.Bytes(), err)
	}
}

type refusing struct{ txn.Writer }

func (refusing) Write(context.Context, txn.Request, func(context.Context, *txn.Builder) error) (txn.Receipt, error) {
	return txn.Receipt{}, errors.New("no")
}

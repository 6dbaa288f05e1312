package buffer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// people know three credentials: ada's (an admin), eve's (nothing) and none.
type people struct{}

func (people) Authenticate(_ context.Context, bearer string) (api.Principal, error) {
	switch bearer {
	case "ada":
		return api.Principal{UserID: 1, Username: "ada", Permissions: map[string]bool{"read:buffer": true, "manage:buffer": true}}, nil
	case "vera":
		return api.Principal{UserID: 3, Username: "vera", Permissions: map[string]bool{"read:buffer": true, "read:audit": true}}, nil
	case "eve":
		return api.Principal{UserID: 2, Username: "eve", Permissions: map[string]bool{}}, nil
	}
	return api.Principal{}, problem.Unauthorized.New("unknown")
}

// site serves the module's operations.
type site struct {
	t       *testing.T
	handler http.Handler
}

func serve(t *testing.T, m *Module) site {
	t.Helper()
	catalog, err := problem.NewCatalog(Problems)
	if err != nil {
		t.Fatal(err)
	}
	router, err := api.New(api.Options{Site: m.config.Site, Authenticator: people{}, Problems: catalog})
	if err != nil {
		t.Fatal(err)
	}
	m.Register(router)
	if found := api.CheckDocument(router.OpenAPI()); len(found) > 0 {
		t.Errorf("the document:\n%s", strings.Join(found, "\n"))
	}
	return site{t, router.Handler()}
}

// call sends a request and reads the JSON of the answer.
func (s site) call(as, method, path string, want int) map[string]any {
	s.t.Helper()
	return s.send(as, method, path, "", "", want)
}

// send is call with a body and an Idempotency-Key.
func (s site) send(as, method, path, sent, key string, want int) map[string]any {
	s.t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(sent))
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if as != "" {
		request.Header.Set("Authorization", "Bearer "+as)
	}
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, request)
	var body map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, answer.Body)
	}
	if answer.Code != want {
		s.t.Errorf("%s %s as %q: %d %s, want %d", method, path, as, answer.Code, answer.Body, want)
	}
	return body
}

func TestOperationsAtASecondarySite(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := make1(t, s, func(c *Config) { c.RetryAttempts = 1 })
	at := serve(t, m)
	poison := txntest.Note(t, s.Buffered, "poison", nil)
	child := txntest.Note(t, s.Buffered, "child", &poison)
	txntest.Note(t, s.Buffered, "other", nil)
	start(t, m)
	drained(t, s, 10*time.Second)

	health := at.call("", "GET", "/health", 200)
	if health["status"] != "degraded" || len(health["reasons"].([]any)) != 0 {
		t.Errorf("open health: %v", health)
	}
	health = at.call("eve", "GET", "/health", 200)
	if fmt.Sprint(health["reasons"]) != "[there are dead letters]" {
		t.Errorf("health: %v", health)
	}
	buffer := health["transaction_buffer"].(map[string]any)
	if buffer["size"] != 0.0 || buffer["failed"] != 1.0 || buffer["blocked"] != 1.0 || buffer["durability"] != "strict" {
		t.Errorf("transaction_buffer: %v", buffer)
	}
	at.call("", "GET", "/health/live", 200)
	at.call("", "GET", "/health/ready", 200)
	if stats := at.call("", "GET", "/buffer-stats", 200); stats["failed"] != 1.0 || stats["details"] != nil {
		t.Errorf("open stats: %v", stats)
	}
	if stats := at.call("ada", "GET", "/buffer-stats", 200)["details"].(map[string]any); stats["replay_lsn"] == nil || stats["pending_rows"].(map[string]any)["note"] != 2.0 {
		t.Errorf("stats: %v", stats)
	}
	if info := at.call("ada", "GET", "/api/site/info", 200)["details"].(map[string]any); len(info["sites"].([]any)) != 1 || info["replica"] != "connected" {
		t.Errorf("site info: %v", info)
	}

	at.call("", "GET", "/buffer/transactions", 401)
	at.call("eve", "GET", "/buffer/transactions", 403)
	page := at.call("ada", "GET", "/buffer/transactions?limit=1&count=true", 200)
	first := page["items"].([]any)[0].(map[string]any)
	if page["total"] != 2.0 || page["next_cursor"] == nil || first["state"] != "failed" || first["site"] != s.Site || len(first["attempts"].([]any)) != 1 {
		t.Errorf("first page: %v", page)
	}
	if code := first["problem"].(map[string]any)["type"]; code != "/problems/note-poisoned" {
		t.Errorf("the dead letter's problem: %v", first["problem"])
	}
	page = at.call("ada", "GET", "/buffer/transactions?limit=1&cursor="+page["next_cursor"].(string), 200)
	second := page["items"].([]any)[0].(map[string]any)
	if page["next_cursor"] != nil || second["state"] != "blocked" || second["blocked_by"] != first["id"] {
		t.Errorf("second page: %v", page)
	}
	if rows := second["rows"].([]any); rows[0].(map[string]any)["id"] != child.String() {
		t.Errorf("rows: %v", rows)
	}
	if page = at.call("ada", "GET", "/buffer/transactions?state=failed&age_s_max=3600&operation=write-note", 200); len(page["items"].([]any)) != 1 {
		t.Errorf("filtered: %v", page)
	}
	if page = at.call("ada", "GET", "/buffer/transactions?age_s_min=3600", 200); len(page["items"].([]any)) != 0 {
		t.Errorf("filtered: %v", page)
	}
	id := first["id"].(string)
	if one := at.call("ada", "GET", "/buffer/transactions/"+id, 200); one["steps"].([]any)[0].(map[string]any)["data"].(map[string]any)["body"] != "poison" {
		t.Errorf("steps: %v", one)
	}
	at.call("ada", "GET", "/buffer/transactions/"+uuid.NewString(), 404)
	at.call("eve", "GET", "/transactions/"+id, 404)
	at.call("", "GET", "/transactions/"+id, 401)
	if tx := at.call("ada", "GET", "/transactions/"+id+"?wait=replicated&timeout=60", 200); tx["state"] != "failed" {
		t.Errorf("a dead letter must end the wait: %v", tx)
	}

	if paused := at.call("ada", "POST", "/buffer/pause", 200); paused["paused"] != true {
		t.Errorf("pause: %v", paused)
	}
	at.call("eve", "POST", "/buffer/retry", 403)
	if r := at.call("ada", "POST", "/buffer/transactions/"+id+"/retry", 202); r["requeued"] != 2.0 {
		t.Errorf("retry: %v, want the dead letter and what it blocks", r)
	}
	if health = at.call("ada", "GET", "/health", 200); !strings.Contains(fmt.Sprint(health["reasons"]), "paused") || health["transaction_buffer"].(map[string]any)["size"] != 2.0 {
		t.Errorf("paused health: %v", health)
	}
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	at.call("ada", "POST", "/buffer/resume", 200)
	if tx := at.call("ada", "GET", "/transactions/"+id+"?wait=replicated&timeout=20", 200); tx["state"] != "replicated" || tx["applied_at"] == nil || tx["site"] != s.Site || tx["position"] == nil || len(tx["attempts"].([]any)) != 1 {
		t.Errorf("after the cause was mended: %v", tx)
	}
	drained(t, s, 10*time.Second)
	sandboxtest.Eventually(t, 5*time.Second, "the site to be healthy", func() bool {
		return at.call("", "GET", "/health", 200)["status"] == "healthy"
	})
}

func TestOperationsAtMain(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := mainSite(t, s)
	m.config.Reader = s.MainReader
	start(t, m)
	at := serve(t, m)
	health := at.call("", "GET", "/health", 200)
	if health["status"] != "healthy" || health["transaction_buffer"] != nil || health["background_processor"] != nil || health["replication"] != nil {
		t.Errorf("health: %v", health)
	}
	at.call("", "GET", "/health/ready", 200)
	for _, path := range []string{"/buffer/transactions", "/buffer/transactions/" + uuid.NewString()} {
		if p := at.call("ada", "GET", path, 409); p["type"] != "/problems/no-buffer-here" {
			t.Errorf("%s: %v", path, p)
		}
	}
	for _, path := range []string{"/buffer/retry", "/buffer/pause", "/buffer/resume"} {
		at.call("ada", "POST", path, 409)
	}
	receipt := txntest.EditNote(t, s.Direct, txntest.Edit{ID: txntest.Note(t, s.Direct, "x", nil), Body: "y", Status: "open"})
	tx := at.call("ada", "GET", "/transactions/"+receipt.TransactionID.String()+"?wait=replicated&timeout=60", 200)
	if tx["state"] != "applied" || len(tx["rows"].([]any)) != 1 {
		t.Errorf("transaction: %v", tx)
	}
	at.call("eve", "GET", "/transactions/"+receipt.TransactionID.String(), 404)
	if stats := at.call("", "GET", "/buffer-stats", 200); stats["size"] != nil || stats["details"] != nil {
		t.Errorf("open stats: %v", stats)
	}
	secondary := make1(t, s)
	start(t, secondary)
	sandboxtest.Eventually(t, 20*time.Second, "main to have seen the other site", func() bool {
		for _, row := range at.call("ada", "GET", "/buffer-stats", 200)["details"].(map[string]any)["sites"].([]any) {
			if row := row.(map[string]any); row["site"] == s.Site && row["version"] == "test" {
				return true
			}
		}
		return false
	})
}

// hush is a note whose content is for who may read the audit log.
type hush struct{ txntest.Write }

// Kind implements txn.Step.
func (hush) Kind() string { return "notes.hush/1" }

// ReadBy implements txn.Confidential.
func (hush) ReadBy() string { return "read:audit" }

// TestWhatIsConfidentialIsNotReadInTheBuffer: neither waiting nor dead, and beside it nothing else of its transaction.
func TestWhatIsConfidentialIsNotReadInTheBuffer(t *testing.T) {
	t.Parallel()
	s := txntest.New(t, hush{})
	m := make1(t, s)
	at := serve(t, m)
	receipt, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(hush{txntest.NewWrite(tx, "poison", nil)})
		return nil
	})
	must(t, err)
	path := "/buffer/transactions/" + receipt.TransactionID.String()
	check := func(when string) {
		t.Helper()
		if text := fmt.Sprint(at.call("ada", "GET", path, 200)); strings.Contains(text, "poison ") || strings.Contains(text, "body:poison") || !strings.Contains(text, "notes.hush/1") {
			t.Errorf("%s, without read:audit: %s", when, text)
		}
		if text := fmt.Sprint(at.call("vera", "GET", path, 200)); !strings.Contains(text, "body:poison") {
			t.Errorf("%s, with it: %s", when, text)
		}
	}
	check("waiting")
	start(t, m)
	sandboxtest.Eventually(t, time.Minute, "the dead letter", func() bool { return s.Store.Current().Counts().Failed == 1 })
	check("as a dead letter")
}

package buffer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// A released kind never changes: what a buffer somewhere still holds must mean the
// same to every later program, and come out of it as it went in.
func TestGoldenStepsStayReadable(t *testing.T) {
	t.Parallel()
	catalog, err := txn.NewCatalog(Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range catalog.Kinds() {
		content, err := os.ReadFile(filepath.Join("testdata", "steps", strings.ReplaceAll(kind, "/", "-")+".json"))
		if err != nil {
			t.Fatalf("every step has a golden file: %v", err)
		}
		var samples []json.RawMessage
		if err := json.Unmarshal(content, &samples); err != nil {
			t.Fatal(err)
		}
		for i, sample := range samples {
			step, err := catalog.Decode(pending.Step{Kind: kind, Data: sample})
			if err != nil {
				t.Errorf("%s, sample %d: %v", kind, i, err)
				continue
			}
			encoded, err := catalog.Encode(step)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, sample); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), string(encoded.Data)); diff != "" {
				t.Errorf("%s, sample %d (-released +now):\n%s", kind, i, diff)
			}
		}
	}
}

// ledger reads the outcome of a transaction at main, "" for none.
func ledger(t testing.TB, s *txntest.Sites, id uuid.UUID) (outcome string) {
	t.Helper()
	if err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT coalesce((SELECT outcome FROM applied_transaction WHERE id = $1), '')", id).Scan(&outcome); err != nil {
		t.Fatal(err)
	}
	return outcome
}

// decisionAt reads what main keeps of a decision.
func decisionAt(t testing.TB, s *txntest.Sites, id uuid.UUID) (outcome, reason string, notes int) {
	t.Helper()
	err := s.PrimaryPool.QueryRow(sandboxtest.Context(t),
		"SELECT outcome, reason, jsonb_array_length(transaction -> 'steps') FROM dead_letter_decision WHERE transaction_id = $1", id).Scan(&outcome, &reason, &notes)
	if err != nil {
		t.Fatal(err)
	}
	return outcome, reason, notes
}

// dead waits until n dead letters are there.
func dead(t testing.TB, s *txntest.Sites, n int) []*pending.Tx {
	t.Helper()
	sandboxtest.Eventually(t, 30*time.Second, "the dead letters", func() bool { return len(s.Store.Current().Dead()) == n })
	return s.Store.Current().Dead()
}

// carried applies a transaction at main as something that carries it would: with its
// ledger row, in one commit.
func carried(t testing.TB, s *txntest.Sites, tx *pending.Tx) {
	t.Helper()
	whole, err := tx.Transaction()
	if err != nil {
		t.Fatal(err)
	}
	var note txntest.Write
	if err := json.Unmarshal(whole.Steps[0].Data, &note); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PrimaryPool.Exec(sandboxtest.Context(t), `WITH entry AS (
			INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, accepted_at, applied_at, changes)
			VALUES ($1, $2, $3, 'applied', 'write-note', 'user:ada', now(), now(), '[]'))
		INSERT INTO note (id, body, status, created_at) VALUES ($4, $5, 'open', $6)`,
		tx.ID, s.Site, tx.Seq, note.ID, note.Body, note.CreatedAt); err != nil {
		t.Fatal(err)
	}
}

func TestDiscardedDeadLetterIsNeverApplied(t *testing.T) {
	t.Parallel()
	s := both(t)
	at := serve(t, make1(t, s))
	key := "first"
	write := func(key string) txn.Receipt {
		t.Helper()
		req := txntest.Request("write-note")
		req.Key = key
		receipt, err := s.Buffered.Write(sandboxtest.Context(t), req, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "poison", nil))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	poison := write(key)
	note := poison.Changes[0].ID
	child := txntest.Note(t, s.Buffered, "child", &note)
	m := make1(t, s)
	start(t, m)
	letters := dead(t, s, 2)
	stop(t, m) // the decision waits in the buffer
	path := "/buffer/transactions/" + poison.TransactionID.String() + "/discard"
	reason := `{"reason":"mistyped"}`

	at.send("eve", "POST", path, reason, "", 403)
	at.send("ada", "POST", path, `{"reason":" "}`, "", 422)
	at.send("ada", "POST", path, `{}`, "", 422)
	at.send("ada", "POST", "/buffer/transactions/"+uuid.NewString()+"/discard", reason, "", 404)
	first := at.send("ada", "POST", path, reason, "key", 200)
	if first["outcome"] != "discarded" || first["actor"] != "user:ada" || first["reason"] != "mistyped" || first["sync"].(map[string]any)["state"] != "buffered" {
		t.Errorf("the decision: %v", first)
	}
	by := first["sync"].(map[string]any)["transaction_id"].(string)
	for _, again := range []string{"key", "another", ""} {
		if got := at.send("ada", "POST", path, reason, again, 200); cmp.Diff(first, got) != "" {
			t.Errorf("with key %q again: %s", again, cmp.Diff(first, got))
		}
	}
	if got := at.send("ada", "POST", path, `{"reason":"for fun"}`, "", 200); got["reason"] != "mistyped" {
		t.Errorf("decided again: %v, want the first decision", got)
	}
	at.send("ada", "POST", path, `{"reason":"for fun"}`, "key", 422) // the key of another request
	if p := at.send("ada", "POST", "/buffer/transactions/"+by+"/discard", reason, "", 409); p["type"] != "/problems/not-a-dead-letter" {
		t.Errorf("discarding the decision on its way: %v", p)
	}
	tx := at.call("ada", "GET", "/transactions/"+poison.TransactionID.String()+"?wait=replicated&timeout=60", 200)
	if decision := tx["decision"].(map[string]any); tx["state"] != "discarded" || decision["reason"] != "mistyped" || len(tx["attempts"].([]any)) != 1 {
		t.Errorf("what became of it: %v", tx)
	}
	if _, shown := s.Store.Current().Row(pending.Key{Table: "note", ID: note}); shown {
		t.Error("its row is still shown")
	}
	if r := write(key); !r.Replayed || r.TransactionID != poison.TransactionID || r.State != pending.StateDiscarded {
		t.Errorf("its own key again: %+v", r)
	}
	// What it blocked stays blocked, and fails when it is retried: its parent never comes.
	if b, _ := s.Store.Current().Tx(letters[1].ID); b.State != pending.StateBlocked {
		t.Errorf("what it blocked is %s", b.State)
	}

	start(t, make1(t, s))
	drained(t, s, 30*time.Second)
	if outcome, why, steps := decisionAt(t, s, poison.TransactionID); outcome != "discarded" || why != "mistyped" || steps != 1 {
		t.Errorf("the decision at main: %s, %q, %d steps", outcome, why, steps)
	}
	if got := ledger(t, s, poison.TransactionID); got != "discarded" {
		t.Errorf("the ledger says %q", got)
	}
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	at.call("ada", "POST", "/buffer/retry", 202)
	if got := dead(t, s, 1); got[0].ID != letters[1].ID {
		t.Errorf("dead is %s", got[0].ID)
	}
	sandboxtest.Eventually(t, 30*time.Second, "the child to fail by itself", func() bool {
		return s.Store.Current().Dead()[0].State == pending.StateFailed
	})
	drained(t, s, 30*time.Second)
	tx = at.call("ada", "GET", "/transactions/"+poison.TransactionID.String(), 200)
	if decision := tx["decision"].(map[string]any); tx["state"] != "discarded" || decision["outcome"] != "discarded" || decision["sync"].(map[string]any)["state"] != "replicated" {
		t.Errorf("after its decision has replicated: %v", tx)
	}
	if got := at.send("ada", "POST", path, reason, "third", 200); got["reason"] != "mistyped" || got["at"] != first["at"] {
		t.Errorf("decided once more: %v", got)
	}
	if r := write(key); !r.Replayed || r.State != pending.StateDiscarded {
		t.Errorf("its own key again: %+v", r)
	}
	notes := txntest.Bodies(t, s.PrimaryPool)
	if len(notes) != 0 {
		t.Errorf("at main are %v, want neither the discarded note nor its child %s", notes, child)
	}
	atMain := mainSite(t, s)
	atMain.config.Reader = s.MainReader
	main := serve(t, atMain)
	main.send("ada", "POST", path, reason, "", 409)
	if tx := main.call("ada", "GET", "/transactions/"+poison.TransactionID.String(), 200); tx["state"] != "discarded" || tx["decision"] == nil {
		t.Errorf("at main: %v", tx)
	}
}

// TestDiscardOfWhatMainHasAppliedMeanwhile: the ledger wins, and the decision says so.
func TestValidateOnlyOfADiscard(t *testing.T) {
	t.Parallel()
	s := both(t)
	m := make1(t, s, func(c *Config) { c.RetryDelay = time.Hour })
	at := serve(t, m)
	txntest.Note(t, s.Buffered, "poison", nil)
	start(t, m)
	target := dead(t, s, 1)[0]
	path := "/buffer/transactions/" + target.ID.String()
	got := at.send("ada", "POST", path+"/discard?validate_only=true", `{"reason":"to see"}`, "key", 200)
	if sync, there := got["sync"]; !there || sync != nil || got["transaction_id"] != target.ID.String() || got["reason"] != "to see" {
		t.Errorf("the dry run says %v", got)
	}
	at.send("ada", "POST", "/buffer/transactions/"+uuid.NewString()+"/discard?validate_only=true", `{"reason":"to see"}`, "", 404)
	for _, command := range []string{path + "/retry", "/buffer/retry", "/buffer/pause", "/buffer/resume"} {
		at.send("ada", "POST", command+"?validate_only=true", "", "", 422)
	}
	view, err := s.Store.CatchUp(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if tx, ok := view.Tx(target.ID); !ok || !tx.State.Dead() || view.Counts().Buffered != 0 {
		t.Errorf("after dry runs the dead letter is %+v, and %+v are pending", tx, view.Counts())
	}
}

// shown reads the value of a metric, with the label's value when it has one.
func shown(t *testing.T, m *Module, name, label string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); family.GetName() == name && (label == "" || labels[0].GetValue() == label) {
				return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}

func TestDeadLettersAndDecisionsAreMeasured(t *testing.T) {
	t.Parallel()
	s := both(t)
	m := make1(t, s, func(c *Config) { c.RetryDelay = time.Hour })
	at := serve(t, m)
	decisions := func() [2]float64 {
		const name = "opsdb_dead_letter_decisions_total"
		return [2]float64{shown(t, m, name, "retry"), shown(t, m, name, "discard")}
	}
	if age := shown(t, m, "opsdb_dead_letter_oldest_age_seconds", ""); age != 0 {
		t.Errorf("without a dead letter the oldest is %v s old", age)
	}
	txntest.Note(t, s.Buffered, "poison", nil)
	txntest.Note(t, s.Buffered, "poison", nil)
	start(t, m)
	letters := dead(t, s, 2)
	if age := shown(t, m, "opsdb_dead_letter_oldest_age_seconds", ""); age <= 0 {
		t.Errorf("the oldest dead letter is %v s old", age)
	}
	if got := decisions(); got != [2]float64{} {
		t.Errorf("before any decision: %v", got)
	}
	path := "/buffer/transactions/" + letters[0].ID.String() + "/discard"
	at.send("ada", "POST", path+"?validate_only=true", `{"reason":"to see"}`, "", 200)
	at.send("ada", "POST", path, `{"reason":"mistyped"}`, "", 200)
	at.send("ada", "POST", path, `{"reason":"mistyped"}`, "", 200)
	at.send("ada", "POST", "/buffer/transactions/"+letters[1].ID.String()+"/retry", "", "", 202)
	if got := decisions(); got != [2]float64{1, 1} {
		t.Errorf("after a retry and a discard: %v", got)
	}
}

func TestDiscardOfWhatMainHasAppliedMeanwhile(t *testing.T) {
	t.Parallel()
	s := both(t)
	at := serve(t, make1(t, s))
	note := txntest.Note(t, s.Buffered, "poison", nil)
	m := make1(t, s)
	start(t, m)
	target := dead(t, s, 1)[0]
	stop(t, m)
	// What still carries it arrives first: an import, here by hand.
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	carried(t, s, target)
	at.send("ada", "POST", "/buffer/transactions/"+target.ID.String()+"/discard", `{"reason":"too late"}`, "", 200)
	start(t, make1(t, s))
	drained(t, s, 30*time.Second)
	if outcome, _, _ := decisionAt(t, s, target.ID); outcome != "applied" {
		t.Errorf("the decision says %s", outcome)
	}
	if got := ledger(t, s, target.ID); got != "applied" {
		t.Errorf("the ledger says %s", got)
	}
	if tx := at.call("ada", "GET", "/transactions/"+target.ID.String(), 200); tx["state"] != "replicated" || tx["decision"].(map[string]any)["outcome"] != "applied" {
		t.Errorf("what became of it: %v", tx)
	}
	if _, there := txntest.Bodies(t, s.ReplicaPool)[note]; !there {
		t.Error("its note is missing")
	}
}

// TestDiscardOfALargeTransaction: a discarded bulk travels in parts.
func TestDiscardOfALargeTransaction(t *testing.T) {
	t.Parallel()
	s := both(t)
	at := serve(t, make1(t, s))
	receipt, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("write-notes"), func(_ context.Context, tx *txn.Builder) error {
		many := txntest.Many{CreatedAt: tx.Now()}
		for range 5000 {
			many.IDs, many.Bodies = append(many.IDs, tx.NewID()), append(many.Bodies, `two "bytes": é`)
		}
		many.Bodies[2500] = "poison"
		tx.Add(many)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, make1(t, s))
	dead(t, s, 1)
	at.send("ada", "POST", "/buffer/transactions/"+receipt.TransactionID.String()+"/discard", `{"reason":"é"}`, "", 200)
	drained(t, s, 30*time.Second)
	var same bool
	if err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), `SELECT jsonb_array_length(transaction #> '{steps,0,data,ids}') = 5000
		AND transaction #>> '{steps,0,data,bodies,4999}' = 'two "bytes": é' FROM dead_letter_decision WHERE transaction_id = $1`, receipt.TransactionID).Scan(&same); err != nil || !same {
		t.Errorf("the kept transaction is not whole: %v", err)
	}
}

// TestDiscardOfWhatReusesAKey: the key stays that of the transaction that main has.
func TestDiscardOfWhatReusesAKey(t *testing.T) {
	t.Parallel()
	s := both(t)
	at := serve(t, make1(t, s))
	write := func(w txn.Writer) txn.Receipt {
		t.Helper()
		req := txntest.Request("write-note")
		req.Key = "key"
		receipt, err := w.Write(sandboxtest.Context(t), req, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "x", nil))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	at.call("ada", "POST", "/buffer/pause", 200)
	twice := write(s.Buffered)
	first := write(s.Direct)
	start(t, make1(t, s))
	at.call("ada", "POST", "/buffer/resume", 200)
	if got := dead(t, s, 1); got[0].ID != twice.TransactionID {
		t.Fatalf("dead is %s", got[0].ID)
	}
	at.send("ada", "POST", "/buffer/transactions/"+twice.TransactionID.String()+"/discard", `{"reason":"written at main"}`, "", 200)
	drained(t, s, 30*time.Second)
	if got := ledger(t, s, twice.TransactionID); got != "discarded" {
		t.Errorf("the ledger says %q", got)
	}
	if again := write(s.Direct); !again.Replayed || again.TransactionID != first.TransactionID {
		t.Errorf("the key again at main: %+v", again)
	}
}

// TestDiscardIsBufferedThoughWritesAreNot: a decision is never written past the buffer.
func TestDiscardIsBufferedThoughWritesAreNot(t *testing.T) {
	t.Parallel()
	s := both(t)
	direct := txn.NewBuffered(txn.BufferedConfig{
		Store: s.Store, Reader: s.Reader, Catalog: s.Catalog, Problems: s.Problems, Site: s.Site, SiteID: s.SiteID, Direct: s.Direct,
	})
	txntest.Note(t, s.Buffered, "poison", nil)
	m := make1(t, s, func(c *Config) { c.Writer = direct })
	at := serve(t, m)
	start(t, m)
	target := dead(t, s, 1)[0]
	drained(t, s, 30*time.Second)
	at.send("ada", "POST", "/buffer/transactions/"+target.ID.String()+"/discard", `{"reason":"x"}`, "", 200)
	drained(t, s, 30*time.Second)
	if n := len(s.Store.Current().Dead()); n != 0 || ledger(t, s, target.ID) != "discarded" {
		t.Errorf("%d dead letters, the ledger says %q", n, ledger(t, s, target.ID))
	}
}

// noteEditor corrects notes and edits of notes.
type noteEditor struct{}

func (noteEditor) Request(of *pending.Transaction) (json.RawMessage, error) {
	return of.Steps[len(of.Steps)-1].Data, nil
}

func (e noteEditor) Edit(of *pending.Transaction, patch json.RawMessage) (func(context.Context, *txn.Builder) error, error) {
	request, err := e.Request(of)
	if err != nil {
		return nil, err
	}
	var edit txntest.Edit
	var write txntest.Write
	into, step := any(&edit), func() txn.Step { return edit }
	if of.Steps[len(of.Steps)-1].Kind == write.Kind() {
		into, step = &write, func() txn.Step { return write }
	}
	if err := errors.Join(json.Unmarshal(request, into), json.Unmarshal(patch, into)); err != nil {
		return nil, err
	}
	return func(_ context.Context, tx *txn.Builder) error {
		tx.Add(step())
		return nil
	}, nil
}

// TestDecisionIsNoticedByWhatWasCheckedBeforeIt: another process of the site has checked
// an edit against a dead note when that is decided about. It looks again: the note is
// gone, or another, and an edit of a note that never comes could only die at main.
func TestDecisionIsNoticedByWhatWasCheckedBeforeIt(t *testing.T) {
	t.Parallel()
	for command, c := range map[string]struct {
		body string
		want error
	}{
		"discard": {`{"reason":"mistyped"}`, txntest.ParentMissing},
		"replace": {`{"reason":"mistyped","request":{"body":"corrected"}}`, nil},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := both(t)
			slow := func(c *Config) { c.RetryDelay, c.Editor = time.Hour, noteEditor{} }
			at := serve(t, make1(t, s, slow))
			note := txntest.Note(t, s.Buffered, "poison", nil)
			m := make1(t, s, slow)
			start(t, m)
			target := dead(t, s, 1)[0]
			stop(t, m)
			store, _, other := s.Process(t)
			if _, err := store.CatchUp(sandboxtest.Context(t)); err != nil {
				t.Fatal(err)
			}
			runs := 0
			_, err := other.Write(sandboxtest.Context(t), txntest.Request("edit-note"), func(ctx context.Context, tx *txn.Builder) error {
				if runs++; runs == 1 {
					at.send("ada", "POST", "/buffer/transactions/"+target.ID.String()+"/"+command, c.body, "", 200)
				}
				if _, there := tx.Pending().Row(pending.Key{Table: "note", ID: note}); !there {
					return txntest.ParentMissing.New("there is no note %s", note)
				}
				tx.Add(txntest.Edit{ID: note, Body: "edited", Status: "open"})
				return nil
			})
			if !errors.Is(err, c.want) || runs < 2 {
				t.Errorf("checked %d times, then %v, want %v after another look", runs, err, c.want)
			}
		})
	}
}

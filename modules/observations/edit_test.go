package observations_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/modules/observations"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// operator serves the operations on the secondary site's buffer and returns what starts
// and stops its processor.
func (s *sites) operator(t *testing.T) (at *site, drain func() (stop func())) {
	t.Helper()
	return s.operatorThrough(t, s.ProcessorURL)
}

// operatorThrough is operator with a processor that reaches main by another URL.
func (s *sites) operatorThrough(t *testing.T, primaryURL string) (at *site, drain func() (stop func())) {
	t.Helper()
	open := func() *buffer.Module {
		m, err := buffer.New(buffer.Config{
			Site: s.Site, Store: s.store, Writer: s.secondary.writer, Reader: s.secondary.reader, Replica: s.replica, PrimaryURL: primaryURL,
			Editor:  observations.New(observations.Config{Writer: s.secondary.writer, Reader: s.secondary.reader, Site: s.Site, PackageMaxBytes: 100_000_000_000}).Editor(),
			Catalog: s.catalog, Problems: s.problems, RetryAttempts: 1, RetryDelay: time.Hour, Logger: observetest.Logger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	router, err := api.New(api.Options{Site: s.Site, Authenticator: permitted{}, Problems: s.problems})
	if err != nil {
		t.Fatal(err)
	}
	open().Register(router)
	server := httptest.NewServer(router.Handler())
	t.Cleanup(server.Close)
	return &site{t: t, name: s.Site, url: server.URL}, func() func() {
		m := open()
		m.Start(context.Background())
		stop := func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := m.Stop(ctx); err != nil {
				t.Errorf("stopping the processor: %v", err)
			}
		}
		t.Cleanup(stop)
		return stop
	}
}

// pendingDead waits until n dead letters are there.
func (s *sites) pendingDead(t *testing.T, n int) {
	t.Helper()
	sandboxtest.Eventually(t, 60*time.Second, fmt.Sprintf("%d dead letters", n), func() bool { return len(s.store.Current().Dead()) == n })
}

func (s *sites) replicatedAll(t *testing.T) {
	t.Helper()
	sandboxtest.Eventually(t, 60*time.Second, "everything to be replicated", func() bool {
		c := s.store.Current().Counts()
		return c.Buffered == 0 && c.Applied == 0 && c.Failed == 0 && c.Blocked == 0
	})
}

// newUnit makes an obs unit that main can forget again.
func newUnit(t *testing.T, s *sites, name string) int64 {
	t.Helper()
	var id int64
	err := s.Primary(t).QueryRow(sandboxtest.Context(t), `INSERT INTO obs_unit OVERRIDING SYSTEM VALUE
		SELECT (jsonb_populate_record(u, jsonb_build_object('id', (SELECT max(id) + 1 FROM obs_unit), 'name', $1::text))).* FROM obs_unit AS u ORDER BY id LIMIT 1
		RETURNING id`, name).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stack.WaitForReplay(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestCorrectedDeadLetterTakesItsPlace: a start names a unit that main has deleted. Its
// finish, a file and a package wait for it, corrected it is applied under the same ids
// and they go on, in the old order.
func TestCorrectedDeadLetterTakesItsPlace(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at, drain := s.operator(t)
	obs := s.secondary
	obs.t = t
	good, gone := unit(t, s), newUnit(t, s, "gone")
	started := obs.post("/executed_obs_units/start", object{"obs_unit_id": gone, "comment": "first", "start_time": "2026-07-15T11:20:00Z"}, "Idempotency-Key", "start")
	id, tx := started.want(201).id(), started.header.Get("X-Transaction-Id")
	s.Exec(t, fmt.Sprintf("DELETE FROM obs_unit WHERE id = %d", gone))
	stop := drain()
	s.pendingDead(t, 1)
	stop()
	// The finish comes while nobody drains, after its start has become a dead letter.
	obs.put("/executed_obs_units/"+id+"/finish", object{"status": "completed", "end_time": "2026-07-15T11:29:00Z", "comment": "second"}).want(200)
	module := one[int64](t, s, "SELECT id FROM instrument_module ORDER BY id LIMIT 1")
	kept := obs.post("/raw_data_files", file(id, module, "a.g3")).want(201).id()
	path := "/buffer/transactions/" + tx
	before := at.get(path).want(200)
	request, _ := before["request"].(map[string]any)
	if request["id"] != id || request["obs_unit_id"] != float64(gone) || request["start_time"] != "2026-07-15T11:20:00Z" || before["decision"] != nil {
		t.Fatalf("what there is to edit: %v", before)
	}

	edit := func(request object) object { return object{"reason": "the unit was entered again", "request": request} }
	at.post(path+"/replace", object{"request": object{"obs_unit_id": good}}).wantProblem(422, "invalid", "body")
	at.post(path+"/replace", edit(object{"obs_unit_id": gone})).wantProblem(422, "invalid", "body.request.obs_unit_id")
	at.post(path+"/replace", edit(object{"obs_unit_id": "x"})).wantProblem(422, "invalid", "body.request.obs_unit_id")
	at.post(path+"/replace", edit(object{"obs_unit": 1})).wantProblem(422, "invalid", "body.request.obs_unit")
	at.post(path+"/replace", edit(object{"obs_unit_id": good, "id": uuid.NewString()})).wantProblem(422, "invalid", "body.request.id")
	at.post(path+"/replace", edit(object{"obs_unit_id": good, "start_time": "0000-01-01T00:00:00Z"})).wantProblem(422, "invalid", "body.request.start_time")
	at.post("/buffer/transactions/"+uuid.NewString()+"/replace", edit(object{})).wantProblem(404, "not-found")
	dry := at.post(path+"/replace?validate_only=true", edit(object{"obs_unit_id": good})).want(200)
	if dry["sync"] != nil || dry["replaced_by"] != nil || dry["outcome"] != "replaced" {
		t.Errorf("the dry run says %v", dry)
	}
	if got := at.get(path).want(200); got["state"] != "failed" {
		t.Fatalf("after a dry run it is %v", got["state"])
	}
	answer := at.post(path+"/replace", edit(object{"obs_unit_id": good}), "Idempotency-Key", "edit")
	decision := answer.want(200)
	by := decision.text("replaced_by")
	if decision["outcome"] != "replaced" || decision["actor"] != "user:ada" || by != answer.header.Get("X-Transaction-Id") || decision.state() != "buffered" {
		t.Fatalf("the decision is %v", decision)
	}
	if again := at.post(path+"/replace", edit(object{"obs_unit_id": good}), "Idempotency-Key", "edit"); again.header.Get("Idempotency-Replayed") != "true" || again.want(200).text("replaced_by") != by {
		t.Errorf("with the same key again: %s", again.body)
	}
	at.post(path+"/replace", edit(object{"obs_unit_id": good, "comment": "x"}), "Idempotency-Key", "edit").wantProblem(422, "idempotency-key-reused")
	at.post(path+"/replace", edit(object{"obs_unit_id": good})).wantProblem(409, "not-a-dead-letter")
	now := obs.get("/executed_obs_units/" + id).want(200)
	if now["obs_unit_id"] != float64(good) || now["comment"] != "second" || now["status"] != "completed" || now["start_time"] != "2026-07-15T11:20:00Z" {
		t.Errorf("the record is %v", now)
	}
	old := at.get("/transactions/" + tx).want(200)
	if d, _ := old["decision"].(map[string]any); old["state"] != "discarded" || d["replaced_by"] != by {
		t.Errorf("the dead letter is %v", old)
	}
	at.post(path+"/retry", nil).wantProblem(409, "not-a-dead-letter")
	if in := at.get(path[:len("/buffer/transactions/")] + by).want(200); in["replaces"] != tx || in["operation"] != "replace-transaction" {
		t.Errorf("what took its place is %v", in)
	}

	drain()
	s.replicatedAll(t)
	if n := one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id = '"+id+"' AND obs_unit_id = "+fmt.Sprint(good)+" AND status = 'completed' AND comment = 'second' AND version = 2"); n != 1 {
		t.Errorf("main has %s", one[string](t, s, "SELECT to_jsonb(e)::text FROM executed_obs_unit AS e WHERE id = '"+id+"'"))
	}
	if n := one[int64](t, s, "SELECT count(*) FROM raw_data_file WHERE id = '"+kept+"'"); n != 1 {
		t.Error("the file that waited for it has not come")
	}
	if outcome := one[string](t, s, "SELECT outcome FROM applied_transaction WHERE id = '"+tx+"'"); outcome != "discarded" {
		t.Errorf("the ledger says the dead letter is %s", outcome)
	}
	for _, where := range []*site{at, s.mainOperator(t)} {
		old := where.get("/transactions/" + tx).want(200)
		if d, _ := old["decision"].(map[string]any); old["state"] != "discarded" || d["outcome"] != "replaced" || d["replaced_by"] != by || d["reason"] != "the unit was entered again" {
			t.Errorf("at the end the dead letter is %v", old)
		}
		if in := where.get("/transactions/" + by).want(200); in["replaces"] != tx {
			t.Errorf("at the end what took its place is %v", in)
		}
	}
	s.mainOperator(t).post(path+"/replace", edit(object{"obs_unit_id": good})).wantProblem(409, "no-buffer-here")
	if again := obs.post("/executed_obs_units/start", object{"obs_unit_id": gone, "comment": "first", "start_time": "2026-07-15T11:20:00Z"}, "Idempotency-Key", "start"); again.want(201).id() != id {
		t.Errorf("the client's own key again: %s", again.body)
	}
}

// TestReplacementIsAppliedOnceOverALineThatIsCut: the flush of a replacement, and of
// what waited for it, is cut at some bytes in either direction, and the next attempt
// finds whatever has arrived: the dead letter never, the replacement once.
func TestReplacementIsAppliedOnceOverALineThatIsCut(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	line, through := txntest.Line(t, s.ProcessorURL)
	at, drain := s.operatorThrough(t, through)
	obs := s.secondary
	obs.t = t
	good := unit(t, s)
	heardNothing := 0
	// replaced makes a dead letter, replaces it and drains over a line that is cut n
	// bytes after the processor began to connect, 0 for never. It returns how many
	// bytes a drain takes.
	replaced := func(direction sandbox.Direction, n int64) (up, down int64) {
		gone := newUnit(t, s, fmt.Sprintf("gone %d %d", direction, n))
		started := obs.post("/executed_obs_units/start", object{"obs_unit_id": gone})
		id, tx := started.want(201).id(), started.header.Get("X-Transaction-Id")
		s.Exec(t, fmt.Sprintf("DELETE FROM obs_unit WHERE id = %d", gone))
		stop := drain()
		s.pendingDead(t, 1)
		stop()
		obs.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"}).want(200)
		by := at.post("/buffer/transactions/"+tx+"/replace", object{"reason": "entered again", "request": object{"obs_unit_id": good}}).want(200).text("replaced_by")
		up, down = line.Passed(sandbox.Outbound), line.Passed(sandbox.Inbound)
		if n > 0 {
			line.CutAfter(direction, n)
		}
		stop = drain()
		sandboxtest.Eventually(t, 60*time.Second, "the line to be cut, or nothing to be left", func() bool {
			c := s.store.Current().Counts()
			return !line.State().Up || c.Buffered == 0 && c.Failed == 0 && c.Blocked == 0
		})
		stop()
		up, down = line.Passed(sandbox.Outbound)-up, line.Passed(sandbox.Inbound)-down
		arrived := one[int64](t, s, "SELECT count(*) FROM applied_transaction WHERE id = '"+by+"'")
		if c := s.store.Current().Counts(); c.Buffered > 0 && arrived == 1 {
			heardNothing++
		}
		txntest.Up(t, line)
		stop = drain()
		s.replicatedAll(t)
		stop()
		if got := one[string](t, s, fmt.Sprintf("SELECT concat_ws(' ', obs_unit_id = %d, status, version) FROM executed_obs_unit WHERE id = '%s'", good, id)); got != "t completed 2" {
			t.Errorf("cut after byte %d of direction %d: main has %s", n, direction, got)
		}
		if got := one[string](t, s, "SELECT string_agg(outcome, ' ' ORDER BY outcome) FROM applied_transaction WHERE id IN ('"+tx+"', '"+by+"')"); got != "applied discarded" {
			t.Errorf("cut after byte %d of direction %d: the ledger has %s", n, direction, got)
		}
		return up, down
	}
	up, down := replaced(sandbox.Outbound, 0)
	for direction, most := range map[sandbox.Direction]int64{sandbox.Outbound: up, sandbox.Inbound: down} {
		for n := int64(1); n <= 8; n++ {
			replaced(direction, most*n/9)
		}
	}
	// One byte before the end of what comes back, everything has been applied.
	for n := down - 1; heardNothing == 0 && n > down-10; n-- {
		replaced(sandbox.Inbound, n)
	}
	if heardNothing == 0 {
		t.Error("no cut came between main's commit and its answer: the test has shown little")
	}
}

// TestReplacementThatComesTooLate: main has the dead letter when its replacement comes
// there, and only one of them may be applied.
func TestReplacementThatComesTooLate(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at, drain := s.operator(t)
	obs := s.secondary
	obs.t = t
	id := obs.start(unit(t, s), nil).id()
	stop := drain()
	s.replicatedAll(t)
	stop()
	finished := obs.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"})
	finished.want(200)
	finish := finished.header.Get("X-Transaction-Id")
	s.Exec(t, "UPDATE executed_obs_unit SET status = 'aborted', end_time = start_time WHERE id = '"+id+"'")
	stop = drain()
	s.pendingDead(t, 1)
	stop()
	s.Exec(t, "UPDATE executed_obs_unit SET status = 'running', end_time = NULL WHERE id = '"+id+"'")
	if err := s.Stack.WaitForReplay(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	by := at.post("/buffer/transactions/"+finish+"/replace", object{"reason": "another end", "request": object{"comment": "edited"}}).want(200).text("replaced_by")
	// A file that was carried to main has brought the dead letter there.
	s.Exec(t, fmt.Sprintf(`INSERT INTO applied_transaction (id, site, outcome, operation, actor, accepted_at, applied_at, changes)
		VALUES ('%s', '%s', 'applied', 'finish-executed-obs-unit', 'user:ada', now(), now(), '[]')`, finish, s.Site))
	drain()
	s.pendingDead(t, 1)
	late := at.get("/buffer/transactions/" + by).want(200)
	if p, _ := late["problem"].(map[string]any); p["type"] != "/problems/dead-letter-applied" || late["state"] != "failed" {
		t.Errorf("the replacement is %v", late)
	}
	if n := one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id = '"+id+"' AND comment = 'edited'"); n != 0 {
		t.Error("both were applied")
	}
	versions := late.list("versions")
	if site, _ := versions[len(versions)-1]["site"].(map[string]any); site["comment"] != "edited" || site["status"] != "completed" {
		t.Errorf("of what the site wanted, %v is shown", versions)
	}
	if main, _ := versions[len(versions)-1]["main"].(map[string]any); main["status"] != "running" || main["id"] != id || main["version"] != 1.0 {
		t.Errorf("of what main has, %v is shown", versions)
	}
	at.post("/buffer/transactions/"+by+"/discard", object{"reason": "main has it"}).want(200)
	s.replicatedAll(t)
	if old := at.get("/transactions/" + finish).want(200); old["decision"].(map[string]any)["outcome"] != "applied" {
		t.Errorf("the dead letter is %v", old)
	}
}

// mainOperator serves the operations of the buffer module at main.
func (s *sites) mainOperator(t *testing.T) *site {
	t.Helper()
	m, err := buffer.New(buffer.Config{Site: sandboxtest.MainSite, Reader: s.main.reader, Primary: s.Primary(t), Catalog: s.catalog, Problems: s.problems})
	if err != nil {
		t.Fatal(err)
	}
	router, err := api.New(api.Options{Site: sandboxtest.MainSite, Authenticator: permitted{}, Problems: s.problems})
	if err != nil {
		t.Fatal(err)
	}
	m.Register(router)
	server := httptest.NewServer(router.Handler())
	t.Cleanup(server.Close)
	return &site{t: t, name: sandboxtest.MainSite, url: server.URL}
}

// TestEveryBufferedRequestCanBeEdited: whatever the operation, there is a request to
// show, and sent back unchanged it is one that the operation takes.
func TestEveryBufferedRequestCanBeEdited(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	obs := s.secondary
	obs.t = t
	editor := observations.New(observations.Config{Writer: obs.writer, Reader: obs.reader, Site: s.Site, PackageMaxBytes: 100_000_000_000}).Editor()
	module := one[int64](t, s, "SELECT id FROM instrument_module ORDER BY id LIMIT 1")
	location := one[int64](t, s, "SELECT min(id) FROM data_location")
	configuration := one[int64](t, s, "SELECT min(id) FROM instrument_module_configuration")
	id := obs.start(unit(t, s), object{"module_configuration_ids": []int64{configuration}, "conditions": object{"wind": 3}}).id()
	first := obs.post("/raw_data_files", with(file(id, module, "a.g3"), "data_location_id", location)).want(201).id()
	b, c := file(id, module, "b.g3"), file(id, module, "c.g3")
	b["data_location_id"], b["start_time"] = location, "2026-07-15T11:20:00.5Z"
	obs.post("/raw_data_files/bulk", []object{b, c}).want(201)
	pack := obs.post("/raw_data_package", object{"executed_obs_unit_id": id, "instrument_module_id": module, "file_ids": []string{first}, "metadata": object{"a": 1}}).want(201).id()
	obs.do("PATCH", "/executed_obs_units/"+id, object{"comment": "x", "conditions": object{"wind": nil, "seeing": 1}}).want(200)
	obs.put("/executed_obs_units/"+id+"/finish", object{"status": "completed", "pwv_mm": 0.5}).want(200)
	obs.put("/raw_data_package/"+pack+"/finalize", object{"size_bytes": 10, "checksum_algorithm": "xxh64", "checksum": "0123456789abcdef"}).want(200)

	view, err := s.store.CatchUp(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for tx := range view.Buffered() {
		seen++
		whole, err := tx.Transaction()
		if err != nil {
			t.Fatal(err)
		}
		request, err := editor.Request(whole)
		if err != nil || request == nil {
			t.Fatalf("%s has no request: %v", tx.Operation, err)
		}
		build, err := editor.Edit(whole, json.RawMessage("{}"))
		if err != nil || build == nil {
			t.Fatalf("%s cannot be sent again: %v", tx.Operation, err)
		}
		var shown map[string]any
		if err := json.Unmarshal(request, &shown); err != nil || len(shown) == 0 {
			t.Errorf("%s: the request is %s", tx.Operation, request)
		}
	}
	if diff := cmp.Diff(7, seen); diff != "" {
		t.Errorf("operations (-want +got): %s", diff)
	}
}

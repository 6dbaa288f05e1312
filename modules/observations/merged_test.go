package observations_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// plain is an answer without what replication may change: sync, and nothing else.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		return plain(map[string]any(v))
	case map[string]any:
		o := map[string]any{}
		for name, member := range v {
			if name != "sync" {
				o[name] = plain(member)
			}
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plain(item)
		}
		return list
	}
	return v
}

// picture is what a site answers to many reads.
func picture(at *site, execution, file, pack string, unit int64) map[string]any {
	at.t.Helper()
	answers := map[string]any{}
	for _, path := range []string{
		"/executed_obs_units/" + execution, "/raw_data_files/" + file, "/raw_data_package/" + pack,
		"/executed_obs_units?count=true&limit=100", "/executed_obs_units?count=true&status=running", "/executed_obs_units?count=true&status=completed&limit=3",
		"/executed_obs_units?count=true&q=orion", "/executed_obs_units?count=true&pwv_mm_min=0.65&limit=2",
		fmt.Sprintf("/obs_unit/%d/executed_obs_units?count=true", unit),
		"/raw_data_files?count=true&limit=10", "/raw_data_files?count=true&unpackaged=true&limit=10", "/raw_data_files?count=true&unpackaged=false&limit=10",
		"/raw_data_files?count=true&limit=7&executed_obs_unit_id=" + execution, "/raw_data_files?count=true&limit=7&raw_data_package_id=" + pack,
		"/raw_data_package?count=true", "/raw_data_package?count=true&status=completed", "/raw_data_package?count=true&executed_obs_unit_id=" + execution,
	} {
		answers[path] = plain(at.get(path).want(200))
	}
	return answers
}

// Reads give the same answers whether a night is buffered, applied and not
// replayed, or replicated; and each write is in the very next read.
func TestReadsAreTheSameBeforeAndAfterReplication(t *testing.T) {
	t.Parallel()
	s := newPrivateSites(t)
	at := s.secondary
	unit, mod := unit(t, s), module(t, s, "Mod280")
	s.PauseReplay(t)

	execution := at.start(unit, object{"start_time": "2026-08-01T11:20:00Z", "conditions": object{"z": 1, "long name": 2.50}}).id()
	files := at.register(execution, mod, "17841/a", 20, 1000)
	if got := at.get("/executed_obs_units/" + execution).want(200).number("file_count"); got != 20 {
		t.Errorf("files at once: got %v", got)
	}
	pack := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod, "file_ids": files[:18]}).want(201).id()
	at.put("/raw_data_package/"+pack+"/finalize", object{"size_bytes": 4096, "checksum_algorithm": "xxh64", "checksum": "00ff00ff00ff00ff", "file_ids": files[18:19]}).want(200)
	at.put("/executed_obs_units/"+execution+"/finish", object{"status": "completed", "pwv_mm": 0.7, "end_time": "2026-08-01T11:29:00Z"}).want(200)
	at.do(http.MethodPatch, "/executed_obs_units/"+execution, `{"comment": "clear sky"}`).want(200)

	buffered := picture(at, execution, files[0], pack, unit)
	if got := at.get("/executed_obs_units/" + execution).want(200).state(); got != "buffered" {
		t.Fatalf("state: got %s, want buffered", got)
	}
	s.drain(t)
	eventually(t, "everything is applied", func() bool { return at.get("/executed_obs_units/"+execution).want(200).state() == "applied" })
	if got := one[string](t, s, "SELECT comment FROM executed_obs_unit WHERE id = $1", execution); got != "clear sky" {
		t.Errorf("at the primary: comment %q", got)
	}
	if diff := cmp.Diff(buffered, picture(at, execution, files[0], pack, unit)); diff != "" {
		t.Errorf("applied, not replayed (-buffered +applied):\n%s", diff)
	}
	etag := at.get("/executed_obs_units/" + execution).header.Get("ETag")
	s.ResumeReplay(t)
	eventually(t, "everything is replicated", func() bool {
		return at.get("/executed_obs_units/"+execution).want(200).state() == "replicated" && at.get("/raw_data_files/"+files[19]).want(200).state() == "replicated"
	})
	if diff := cmp.Diff(buffered, picture(at, execution, files[0], pack, unit)); diff != "" {
		t.Errorf("replicated (-buffered +replicated):\n%s", diff)
	}
	if diff := cmp.Diff(buffered["/raw_data_package/"+pack], plain(s.main.get("/raw_data_package/"+pack).want(200))); diff != "" {
		t.Errorf("at main (-buffered +main):\n%s", diff)
	}
	// Replicating alone does not break an edit.
	at.do(http.MethodPatch, "/executed_obs_units/"+execution, `{"comment": "edited"}`, "If-Match", etag).want(200)
}

func TestFinishWhileStartIsBuffered(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	_, other := s.process(t)
	id := s.secondary.start(unit(t, s), nil).id()
	if got := one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id = $1", id); got != 0 {
		t.Fatal("the start is at the primary already")
	}
	// Two processes try to finish the same execution at once.
	var both sync.WaitGroup
	answers := make([]*answer, 8)
	for i := range answers {
		at := []*site{s.secondary, other}[i%2]
		both.Go(func() { answers[i] = at.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"}) })
	}
	both.Wait()
	counts := map[int]int{}
	for _, a := range answers {
		counts[a.status]++
	}
	if diff := cmp.Diff(map[int]int{200: 1, 409: 7}, counts); diff != "" {
		t.Fatalf("answers by status (-want +got):\n%s", diff)
	}
	s.drain(t)
	eventually(t, "the finish is at the primary", func() bool {
		return one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id = $1 AND status = 'completed'", id) == 1
	})
}

func TestDependantsOfADeadLetterAreBlocked(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at := s.secondary
	doomed := one[int64](t, s, `INSERT INTO obs_unit (name, observing_program_id, source_id, obs_mode_id, instrument_id)
		SELECT 'doomed', observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE name = $1 RETURNING id`, unitName)
	s.WaitForReplay(t)
	id := at.start(doomed, nil).id()
	s.Exec(t, "DELETE FROM obs_unit WHERE name = 'doomed'")
	s.drain(t)
	eventually(t, "the start has failed", func() bool { return at.get("/executed_obs_units/"+id).want(200).state() == "failed" })

	blocked := at.post("/raw_data_files", file(id, module(t, s, "Mod280"), "a.g3")).want(201)
	if blocked.state() != "blocked" {
		t.Errorf("a file of it: state %s, want blocked", blocked.state())
	}
	finished := at.put("/executed_obs_units/"+id+"/finish", object{"status": "aborted"}).want(200)
	if finished.state() != "blocked" {
		t.Errorf("its finish: state %s, want blocked", finished.state())
	}
	fine := at.start(unit(t, s), nil).id()
	eventually(t, "another start passes", func() bool {
		return one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id = $1", fine) == 1
	})
	if got := at.get("/executed_obs_units?count=true&status=aborted&limit=500").want(200); !slices.Contains(ids(got.list("items")), id) {
		t.Error("the failed execution has vanished from the list")
	}

	s.Exec(t, fmt.Sprintf(`INSERT INTO obs_unit (id, name, observing_program_id, source_id, obs_mode_id, instrument_id) OVERRIDING SYSTEM VALUE
		SELECT %d, 'doomed', observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE name = '%s'`, doomed, unitName))
	if _, err := s.store.Retry(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is at the primary", func() bool {
		return one[int64](t, s, "SELECT count(*) FROM raw_data_file f JOIN executed_obs_unit e ON e.id = f.executed_obs_unit_id WHERE e.id = $1 AND e.status = 'aborted'", id) == 1
	})
}

// A change at main that a buffered finish did not expect is told by what it means.
func TestVersionMismatchAtMainIsADeadLetter(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at := s.secondary
	id := s.main.start(unit(t, s), nil).id()
	s.WaitForReplay(t)
	etag := at.get("/executed_obs_units/" + id).header.Get("ETag")
	at.do(http.MethodPatch, "/executed_obs_units/"+id, `{"comment": "from the mountain"}`, "If-Match", etag).want(200)
	s.main.do(http.MethodPatch, "/executed_obs_units/"+id, `{"comment": "from Cologne"}`, "If-Match", etag).want(200)
	s.drain(t)
	eventually(t, "the patch has failed", func() bool { return at.get("/executed_obs_units/"+id).want(200).state() == "failed" })
	view, err := at.reader.PendingOnly(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	dead := view.Dead()
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	if got := problemType(t, dead[0].Dead.Problem); got != "/problems/version-mismatch" {
		t.Errorf("its problem: got %s, want version-mismatch", got)
	}
}

// A finish of the site finds at main that somebody there was faster: main's stays.
func TestLateFinishIsADeadLetter(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at := s.secondary
	id := s.main.start(unit(t, s), nil).id()
	s.WaitForReplay(t)
	at.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"}).want(200)
	s.main.put("/executed_obs_units/"+id+"/finish", object{"status": "aborted"}).want(200)
	s.drain(t)
	eventually(t, "the finish has failed", func() bool { return at.get("/executed_obs_units/"+id).want(200).state() == "failed" })
	view, err := at.reader.PendingOnly(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	dead := view.Dead()
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	if got := problemType(t, dead[0].Dead.Problem); got != "/problems/observation-not-running" {
		t.Errorf("its problem: got %s, want observation-not-running", got)
	}
	if got := s.main.get("/executed_obs_units/" + id).want(200).text("status"); got != "aborted" {
		t.Errorf("main has it %s, want aborted", got)
	}
}

func TestPagesStayWholeWhileRowsReplicate(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at := s.secondary
	unit := unit(t, s)
	want := map[string]bool{}
	for i := range 60 {
		want[at.start(unit, object{"start_time": fmt.Sprintf("2026-08-02T11:%02d:00Z", i)}).id()] = true
	}
	path := fmt.Sprintf("/executed_obs_units?obs_unit_id=%d&limit=9&count=true&start_time_from=2026-08-02T00:00:00Z&start_time_to=2026-08-03T00:00:00Z", unit)
	s.drain(t)
	states := map[string]bool{}
	for round := 0; round < 100 && !states["replicated"]; round++ {
		missing, next := maps.Clone(want), ""
		for {
			query := path
			if next != "" {
				query += "&cursor=" + next
			}
			page := at.get(query).want(200)
			if page.number("total") != 60 {
				t.Fatalf("total: got %v", page["total"])
			}
			for _, o := range page.list("items") {
				states[o.state()] = true
				if !missing[o.id()] {
					t.Fatalf("%s is there twice", o.id())
				}
				delete(missing, o.id())
			}
			if next = page.text("next_cursor"); next == "" {
				break
			}
		}
		if len(missing) > 0 {
			t.Fatalf("%d executions are missing", len(missing))
		}
	}
}

func TestObservingGoesOnWithoutAReplica(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	stored := one[string](t, s, "SELECT id::text FROM executed_obs_unit WHERE status = 'running'")
	dead := openPool(t, pg.OpenReader, "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	_, at := s.processWith(t, dead, pending.Limits{})
	mod := module(t, s, "Mod280")

	id := at.start(unit(t, s), object{"comment": "blind"}).id()
	detail := at.get("/executed_obs_units/" + id)
	if got := detail.want(200); got.text("comment") != "blind" || detail.header.Get("X-Overlay") != "pending-only" || got.text("site") != at.name {
		t.Errorf("detail: %v, X-Overlay %q", got, detail.header.Get("X-Overlay"))
	}
	files := at.register(id, mod, "a", 3, 1000)
	if got := at.get("/raw_data_files?count=true&executed_obs_unit_id=" + id).want(200); got["total"] != nil || len(got.list("items")) != 3 { // how many are stored is not known
		t.Errorf("files: %v", got)
	}
	if got := at.get("/executed_obs_units?status=running").want(200); !slices.Equal(ids(got.list("items")), []string{id}) {
		t.Errorf("list: %v", ids(got.list("items")))
	}
	at.post("/raw_data_package", object{"executed_obs_unit_id": id, "instrument_module_id": mod}).wantProblem(503, "replica-unreachable")
	pack := at.post("/raw_data_package", object{"executed_obs_unit_id": id, "instrument_module_id": mod, "file_ids": files}).want(201)
	if pack.number("sequence") != 1 || pack.number("file_count") != 3 {
		t.Errorf("package: %v", pack)
	}
	if got := at.get("/raw_data_package/" + pack.id()).want(200).list("files"); len(got) != 3 {
		t.Errorf("the package's files: %d", len(got))
	}
	at.put("/raw_data_package/"+pack.id()+"/finalize", object{"size_bytes": 1, "checksum_algorithm": "xxh64", "checksum": "00ff00ff00ff00ff"}).want(200)
	at.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"}).want(200)
	at.put("/executed_obs_units/"+id+"/finish", object{"status": "completed"}).wantProblem(409, "observation-not-running")

	// A stored execution is accepted unchecked; what is not known of it is null.
	finished := at.put("/executed_obs_units/"+stored+"/finish", object{"status": "failed"}).want(200)
	if finished.text("status") != "failed" || finished["obs_unit_id"] != nil || finished.id() != stored {
		t.Errorf("finish of a stored execution: %v", finished)
	}
	at.put("/executed_obs_units/"+stored+"/finish", object{"status": "failed"}).wantProblem(409, "observation-not-running")
	at.get("/executed_obs_units/"+stored).wantProblem(503, "replica-unreachable")
	at.get("/executed_obs_units/"+uuid.NewString()).wantProblem(503, "replica-unreachable")

	// With the replica back, it is all there.
	s.drain(t)
	eventually(t, "all is at the primary", func() bool {
		return one[int64](t, s, "SELECT count(*) FROM executed_obs_unit WHERE id::text IN ($1, $2) AND status IN ('completed', 'failed') AND version >= 1", id, stored) == 2
	})
}

func TestWaitingTellsTheStateReached(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	at := s.secondary
	waited := at.start(unit(t, s), nil, "Prefer", "wait=1")
	if waited.state() != "buffered" {
		t.Errorf("time up: state %s, want buffered", waited.state())
	}
	s.drain(t)
	if got := at.start(unit(t, s), nil, "Prefer", "wait=60").state(); got != "replicated" {
		t.Errorf("waited at the observatory: state %s, want replicated", got)
	}
	if got := s.main.start(unit(t, s), nil, "Prefer", "wait=60").state(); got != "applied" {
		t.Errorf("waited at main: state %s, want applied", got)
	}
}

func TestReadsWithoutRedisAreMarkedOrRefused(t *testing.T) {
	t.Parallel()
	s := newPrivateSites(t)
	at := s.secondary
	stored := one[string](t, s, "SELECT id::text FROM executed_obs_unit WHERE status = 'running'")
	if err := s.Stack.Redis.Stop(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	at.get("/executed_obs_units").wantProblem(503, "pending-unavailable")
	at.get("/executed_obs_units/"+stored).wantProblem(503, "pending-unavailable")
	at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s)}).wantProblem(503, "pending-unavailable")
	for _, path := range []string{"/executed_obs_units?count=true", "/executed_obs_units/" + stored} {
		marked := at.get(path, "X-Overlay", "optional")
		marked.want(200)
		if got := marked.header.Get("X-Overlay"); got != "unavailable" {
			t.Errorf("%s: X-Overlay %q", path, got)
		}
	}
	at.get("/executed_obs_units/"+uuid.NewString(), "X-Overlay", "optional").wantProblem(503, "pending-unavailable")
}

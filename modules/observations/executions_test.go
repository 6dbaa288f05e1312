package observations_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const unitName = "OrionA-280"

func unit(t testing.TB, s *sites) int64 {
	t.Helper()
	return one[int64](t, s, "SELECT id FROM obs_unit WHERE name = $1", unitName)
}

func module(t testing.TB, s *sites, name string) int64 {
	t.Helper()
	return one[int64](t, s, "SELECT id FROM instrument_module WHERE name = $1", name)
}

// start begins an execution and gives its record.
func (s *site) start(unit int64, more object, headers ...string) object {
	s.t.Helper()
	body := object{"obs_unit_id": unit}
	for name, value := range more {
		body[name] = value
	}
	return s.post("/executed_obs_units/start", body, headers...).want(http.StatusCreated)
}

func TestStartIsShownAtOnceEverywhere(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		unit := unit(t, s)
		configuration := one[int64](t, s, "SELECT id FROM instrument_module_configuration WHERE name = 'Mod280-default'")
		before := at.get("/executed_obs_units?count=true&limit=1").want(200).number("total")

		a := at.post("/executed_obs_units/start", object{
			"obs_unit_id": unit, "start_time": "2026-07-15T13:20:00.123456789+02:00", "comment": "clear",
			"conditions": object{"wind": object{"speed": 1e1}, "a": []int{1}}, "module_configuration_ids": []int64{configuration, configuration},
		})
		started := a.want(http.StatusCreated)
		want := object{
			"status": "running", "obs_unit_id": float64(unit), "start_time": "2026-07-15T11:20:00.123456Z", "end_time": nil, "comment": "clear",
			"conditions": map[string]any{"wind": map[string]any{"speed": 10.0}, "a": []any{1.0}}, "site": at.name, "version": 1.0, "pwv_mm": nil,
		}
		for name, value := range want {
			if diff := cmp.Diff(value, started[name]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		id := started.id()
		if got, want := a.header.Get("Location"), "/executed_obs_units/"+id; got != want {
			t.Errorf("Location: got %q, want %q", got, want)
		}
		if a.header.Get("X-Transaction-Id") == "" || a.header.Get("ETag") == "" {
			t.Errorf("headers are missing: %v", a.header)
		}
		if lsn := a.header.Get("X-Commit-LSN"); (lsn != "") != (at == s.main) {
			t.Errorf("X-Commit-LSN: got %q", lsn)
		}

		detail := at.get("/executed_obs_units/" + id).want(200)
		if diff := cmp.Diff([]any{float64(configuration)}, detail["module_configuration_ids"]); diff != "" {
			t.Errorf("module configurations (-want +got):\n%s", diff)
		}
		for name := range started {
			if diff := cmp.Diff(started[name], detail[name]); diff != "" {
				t.Errorf("detail: %s (-started +read):\n%s", name, diff)
			}
		}
		for _, filter := range []string{
			"status=running", fmt.Sprintf("obs_unit_id=%d", unit), "site=" + at.name, "q=ORIONA-2", "comment_contains=CLEAR", "has_pwv_mm=false",
			"start_time_from=2026-07-15T11:20:00.123456Z&start_time_to=2026-07-15T11:20:00.123457Z", "ra=84&dec=-6&radius_deg=0.1",
			"instrument_id=" + fmt.Sprint(one[int64](t, s, "SELECT instrument_id FROM obs_unit WHERE id = $1", unit)),
			"source_id=" + fmt.Sprint(one[int64](t, s, "SELECT source_id FROM obs_unit WHERE id = $1", unit)),
			"observing_program_id=" + fmt.Sprint(one[int64](t, s, "SELECT observing_program_id FROM obs_unit WHERE id = $1", unit)),
		} {
			page := at.get("/executed_obs_units?limit=500&count=true&" + filter).want(200)
			if !slices.Contains(ids(page.list("items")), id) {
				t.Errorf("filter %s: the execution is missing", filter)
			}
			if got := page.number("total"); int(got) != len(page.list("items")) {
				t.Errorf("filter %s: total %v of %d items", filter, got, len(page.list("items")))
			}
		}
		for _, filter := range []string{"status=completed", "site=nowhere", "pwv_mm_min=0", "ra=1&dec=1&radius_deg=1", "q=nothing%25"} {
			page := at.get("/executed_obs_units?limit=500&" + filter).want(200)
			if slices.Contains(ids(page.list("items")), id) {
				t.Errorf("filter %s: the execution is there", filter)
			}
		}
		of := at.get(fmt.Sprintf("/obs_unit/%d/executed_obs_units?limit=500", unit)).want(200)
		if !slices.Contains(ids(of.list("items")), id) {
			t.Error("the execution is missing in its unit's list")
		}
		if got := at.get("/executed_obs_units?count=true&limit=1").want(200).number("total"); got != before+1 {
			t.Errorf("count: got %v, want %v", got, before+1)
		}
	})
}

func TestFinishClosesOnce(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		id := at.start(unit(t, s), object{"comment": "kept", "start_time": "2026-07-15T11:20:00Z"}).id()
		at.put("/executed_obs_units/"+id+"/finish", object{"status": "completed", "end_time": "2026-07-15T11:19:59Z"}).wantProblem(422, "invalid", "body.end_time")

		finished := at.put("/executed_obs_units/"+id+"/finish", object{
			"status": "completed", "end_time": "2026-07-15T11:29:00Z", "pwv_mm": 0.7, "mean_azimuth_deg": 77.3,
		}).want(200)
		want := object{"status": "completed", "end_time": "2026-07-15T11:29:00Z", "comment": "kept", "pwv_mm": 0.7, "mean_azimuth_deg": 77.3, "mean_elevation_deg": nil, "version": 2.0}
		for name, value := range want {
			if diff := cmp.Diff(value, finished[name]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		detail := at.get("/executed_obs_units/" + id).want(200)
		for name := range finished {
			if diff := cmp.Diff(finished[name], detail[name]); diff != "" {
				t.Errorf("detail: %s (-finished +read):\n%s", name, diff)
			}
		}
		at.put("/executed_obs_units/"+id+"/finish", object{"status": "aborted"}).wantProblem(409, "observation-not-running")
		if got := ids(at.get("/executed_obs_units?status=running&limit=500").want(200).list("items")); slices.Contains(got, id) {
			t.Error("it is listed as running still")
		}
		at.put("/executed_obs_units/"+uuid.NewString()+"/finish", object{"status": "aborted"}).wantProblem(404, "not-found", "path.id")
	})
}

func TestPatchMergesAndIsGuardedByVersion(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		a := at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s), "conditions": object{"wind": object{"speed": 3, "gust": 1e2}, "b": 1.50}, "comment": "old"})
		id, etag := a.want(201).id(), a.header.Get("ETag")

		patched := at.do(http.MethodPatch, "/executed_obs_units/"+id, `{"conditions": {"wind": {"gust": null, "dir": 4}}}`, "If-Match", etag, "Content-Type", "application/merge-patch+json")
		o := patched.want(200)
		if diff := cmp.Diff(map[string]any{"wind": map[string]any{"speed": 3.0, "dir": 4.0}, "b": 1.5}, o["conditions"]); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		if o.text("comment") != "old" {
			t.Errorf("the comment has changed: %v", o["comment"])
		}
		at.do(http.MethodPatch, "/executed_obs_units/"+id, `{"comment": null}`, "If-Match", etag).wantProblem(412, "version-mismatch", "header.If-Match")
		read := at.get("/executed_obs_units/" + id)
		read.want(200)
		if got := at.get("/executed_obs_units/"+id, "If-None-Match", read.header.Get("ETag")).status; got != http.StatusNotModified {
			t.Errorf("If-None-Match: got %d", got)
		}
		cleared := at.do(http.MethodPatch, "/executed_obs_units/"+id, `{"comment": null, "conditions": null}`, "If-Match", read.header.Get("ETag")).want(200)
		if diff := cmp.Diff([]any{"", map[string]any{}}, []any{cleared["comment"], cleared["conditions"]}); diff != "" {
			t.Errorf("cleared (-want +got):\n%s", diff)
		}
		finish := at.put("/executed_obs_units/"+id+"/finish", object{"status": "failed"}, "If-Match", etag)
		finish.wantProblem(412, "version-mismatch")
		at.do(http.MethodPatch, "/executed_obs_units/"+uuid.NewString(), `{"comment": "x"}`).wantProblem(404, "not-found", "path.id")
		at.do(http.MethodPatch, "/executed_obs_units/"+id, `{"conditions": [1]}`).wantProblem(422, "invalid", "body.conditions")
	})
}

func TestStartRefusesUnknownParents(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		at.post("/executed_obs_units/start", object{
			"obs_unit_id": 1 << 40, "azimuth_range_id": 1 << 40, "pre_scheduled_slot_id": 1 << 40, "module_configuration_ids": []int64{1 << 40},
		}).wantProblem(422, "invalid", "body.obs_unit_id", "body.azimuth_range_id", "body.pre_scheduled_slot_id", "body.module_configuration_ids")
		id := uuid.NewString()
		at.start(unit(t, s), object{"id": id})
		at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s), "id": id}).wantProblem(409, "id-taken", "body.id")
		at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s), "id": uuid.Nil}).wantProblem(422, "invalid", "body.id")
		at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s), "comment": "a\x00b"}).wantProblem(422, "invalid", "body.comment")
		at.get("/executed_obs_units/42").wantProblem(422, "invalid", "path.id")
		at.put("/executed_obs_units/42/finish", object{"status": "failed"}).wantProblem(422, "invalid", "path.id")
		for id, message := range map[string]string{
			"42": "an execution has a UUID, an obs unit's executions are at /obs_unit/{id}/executed_obs_units",
			"x":  "must be a UUID of 36 characters, with hyphens",
		} {
			errors := at.get("/executed_obs_units/"+id).wantProblem(422, "invalid", "path.id").list("errors")
			if len(errors) != 1 || errors[0].text("message") != message {
				t.Errorf("%s: got %v, want %q", id, errors, message)
			}
		}
		at.get("/executed_obs_units/"+uuid.NewString()).wantProblem(404, "not-found", "path.id")
		at.get("/obs_unit/99999999/executed_obs_units").wantProblem(404, "not-found", "path.id")
		at.get("/executed_obs_units?status=walking").wantProblem(422, "invalid", "query.status")
		at.get("/executed_obs_units?color=red").wantProblem(422, "invalid", "query.color")
	})
}

func TestRepeatedWritesAnswerAsTheFirst(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		body := object{"obs_unit_id": unit(t, s), "comment": "once"}
		first := at.post("/executed_obs_units/start", body, "Idempotency-Key", "start-1")
		id := first.want(201).id()
		finish := object{"status": "completed", "comment": "done"}
		done := at.put("/executed_obs_units/"+id+"/finish", finish, "Idempotency-Key", "finish-1")
		done.want(200)

		again := at.post("/executed_obs_units/start", body, "Idempotency-Key", "start-1")
		if got := again.want(201).id(); got != id {
			t.Errorf("repeated start: got id %s, want %s", got, id)
		}
		if again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("X-Transaction-Id") != first.header.Get("X-Transaction-Id") {
			t.Errorf("repeated start: headers %v", again.header)
		}
		repeated := at.put("/executed_obs_units/"+id+"/finish", finish, "Idempotency-Key", "finish-1")
		if diff := cmp.Diff(done.want(200), repeated.want(200)); diff != "" {
			t.Errorf("repeated finish (-first +again):\n%s", diff)
		}
		at.post("/executed_obs_units/start", object{"obs_unit_id": unit(t, s)}, "Idempotency-Key", "start-1").wantProblem(422, "idempotency-key-reused")
	})
}

func TestPagesHoldEveryExecutionOnce(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		unit := unit(t, s)
		want := map[string]bool{}
		for i := range 30 {
			// Pairs of equal times: the id decides their order.
			start := time.Date(2026, 7, 15, 11, 0, i/2, 0, time.UTC)
			want[at.start(unit, object{"start_time": start}).id()] = true
		}
		path := fmt.Sprintf("/executed_obs_units?obs_unit_id=%d&limit=7&start_time_from=2026-07-15T11:00:00Z&start_time_to=2026-07-15T11:01:00Z", unit)
		next, last, pages := "", "", 0
		for {
			query := path
			if next != "" {
				query += "&cursor=" + next
			}
			page := at.get(query).want(200)
			for _, o := range page.list("items") {
				key := o.text("start_time") + o.id()
				if last != "" && key >= last {
					t.Errorf("out of order: %s after %s", key, last)
				}
				last = key
				if !want[o.id()] {
					t.Errorf("twice or not ours: %s", o.id())
				}
				delete(want, o.id())
			}
			pages++
			if next = page.text("next_cursor"); next == "" {
				break
			}
		}
		if len(want) > 0 || pages != 5 {
			t.Errorf("%d pages, %d executions missing", pages, len(want))
		}
		first := at.get(path).want(200)
		at.get("/executed_obs_units?limit=7&cursor="+first.text("next_cursor")).wantProblem(422, "invalid", "query.cursor")
	})
}

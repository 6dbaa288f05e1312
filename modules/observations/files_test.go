package observations_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// file is the body of a file of an execution.
func file(execution string, module int64, path string) object {
	name := path[strings.LastIndex(path, "/")+1:]
	return object{
		"executed_obs_unit_id": execution, "instrument_module_id": module, "name": name, "relative_path": path, "file_type": "g3",
		"size_bytes": 1_214_300_160, "checksum_algorithm": "xxh64", "checksum": "9f86d081884c7d65",
	}
}

func with(o object, name string, value any) object {
	copied := object{}
	for k, v := range o {
		copied[k] = v
	}
	copied[name] = value
	return copied
}

func TestFileIsShownAtOnce(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod := module(t, s, "Mod280")
		location := one[int64](t, s, "SELECT id FROM data_location WHERE name = 'primecam_raw_data'")
		execution := at.start(unit(t, s), nil).id()
		body := with(file(execution, mod, "17841/rfsoc01_drone1/r01d1_1784114400_000.g3"), "data_location_id", location)
		body["start_time"], body["end_time"] = "2026-07-15T11:20:00Z", "2026-07-15T11:29:00Z"
		a := at.post("/raw_data_files", body)
		created := a.want(http.StatusCreated)
		if got, want := a.header.Get("Location"), "/raw_data_files/"+created.id(); got != want {
			t.Errorf("Location: got %q, want %q", got, want)
		}
		detail := at.get("/raw_data_files/" + created.id()).want(200)
		for name := range created {
			if diff := cmp.Diff(created[name], detail[name]); diff != "" {
				t.Errorf("detail: %s (-created +read):\n%s", name, diff)
			}
		}
		copies := detail.list("physical_copies")
		if len(copies) != 1 || copies[0].number("data_location_id") != float64(location) || copies[0].text("path") != body.text("relative_path") || copies[0].text("status") != "present" {
			t.Errorf("physical copies: got %v", copies)
		}
		for _, filter := range []string{"executed_obs_unit_id=" + execution, "unpackaged=true", "file_type=g3,fits", "size_bytes_min=1214300160", "size_bytes=1214300160",
			"relative_path_contains=RFSOC01", "has_start_time=true", fmt.Sprintf("instrument_module_id=%d", mod)} {
			if !slices.Contains(ids(at.get("/raw_data_files?limit=500&"+filter).want(200).list("items")), created.id()) {
				t.Errorf("filter %s: the file is missing", filter)
			}
		}
		for _, filter := range []string{"unpackaged=false", "file_type=fits", "size_bytes_min=1214300161", "executed_obs_unit_id=" + uuid.NewString()} {
			if slices.Contains(ids(at.get("/raw_data_files?limit=500&"+filter).want(200).list("items")), created.id()) {
				t.Errorf("filter %s: the file is there", filter)
			}
		}
		of := at.get("/executed_obs_units/" + execution).want(200)
		if of.number("file_count") != 1 || !slices.Equal(ids(of.list("files")), []string{created.id()}) {
			t.Errorf("the execution's files: %v, %v", of["file_count"], ids(of.list("files")))
		}

		at.post("/raw_data_files", body).wantProblem(409, "file-exists", "body.relative_path")
		at.post("/raw_data_files", with(file(execution, mod, "x"), "id", created.id())).wantProblem(409, "id-taken", "body.id")
		at.post("/raw_data_files", with(with(file(uuid.NewString(), 1<<40, "x"), "data_location_id", 1<<40), "size_bytes", 5)).
			wantProblem(422, "invalid", "body.executed_obs_unit_id", "body.instrument_module_id", "body.data_location_id")
		wrong := object{
			"relative_path": "/etc/passwd", "file_type": "exe", "size_bytes": -1, "checksum_algorithm": "md5", "checksum": "", "name": "", "end_time": "0000-01-01",
		}
		for name, value := range wrong {
			at.post("/raw_data_files", with(file(execution, mod, "y"), name, value)).wantProblem(422, "invalid", "body."+name)
		}
		at.post("/raw_data_files", with(file(execution, mod, "y"), "relative_path", "a/../b")).wantProblem(422, "invalid", "body.relative_path")
		at.post("/raw_data_files", with(file(execution, mod, "y"), "relative_path", strings.Repeat("é", 1025))).wantProblem(422, "invalid", "body.relative_path")
	})
}

func TestBulkRegistersAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod := module(t, s, "Mod280")
		location := one[int64](t, s, "SELECT id FROM data_location WHERE name = 'primecam_raw_data'")
		execution := at.start(unit(t, s), nil).id()
		files := make([]object, 18)
		for i := range files {
			files[i] = file(execution, mod, fmt.Sprintf("17841/rfsoc%02d/f.g3", i))
			if i%2 == 0 {
				files[i]["data_location_id"] = location
			}
			if i == 3 {
				files[i]["end_time"] = "2026-07-15T11:29:00.5Z"
			}
		}
		result := at.post("/raw_data_files/bulk", files, "Idempotency-Key", "bulk").want(http.StatusCreated)
		if result.number("count") != 18 {
			t.Fatalf("count: got %v", result["count"])
		}
		var got []string
		for _, id := range result["ids"].([]any) {
			got = append(got, id.(string))
		}
		if third := at.get("/raw_data_files/" + got[3]).want(200); third.text("relative_path") != "17841/rfsoc03/f.g3" || third.text("end_time") != "2026-07-15T11:29:00.5Z" || third["start_time"] != nil {
			t.Errorf("ids are not in the order of the body, or the file is another: %v", third)
		}
		if copies := at.get("/raw_data_files/" + got[4]).want(200).list("physical_copies"); len(copies) != 1 {
			t.Errorf("copies of a bulk file: got %v", copies)
		}
		if again := at.post("/raw_data_files/bulk", files, "Idempotency-Key", "bulk"); again.header.Get("Idempotency-Replayed") != "true" {
			t.Error("the repeat was not recognised")
		} else if diff := cmp.Diff(result["ids"], again.want(201)["ids"]); diff != "" {
			t.Errorf("repeated bulk (-first +again):\n%s", diff)
		}
		page := at.get("/raw_data_files?count=true&executed_obs_unit_id=" + execution).want(200)
		if page.number("total") != 18 || len(page.list("items")) != 18 {
			t.Errorf("listed: %v of %d", page["total"], len(page.list("items")))
		}

		at.post("/raw_data_files/bulk", []object{file(execution, mod, "new"), files[7], files[2]}).wantProblem(409, "file-exists", "body[1].relative_path", "body[2].relative_path")
		invalid := at.post("/raw_data_files/bulk", []object{
			with(file(execution, mod, "a"), "size_bytes", -1), file(execution, mod, "b"), with(file(execution, mod, "c"), "file_type", "exe"),
		}).wantProblem(422, "invalid", "body[0].size_bytes", "body[2].file_type")
		if invalid.number("error_count") != 2 {
			t.Errorf("error_count: got %v", invalid["error_count"])
		}
		id := uuid.NewString()
		at.post("/raw_data_files/bulk", []object{file(execution, mod, "a"), file(execution, mod, "b"), file(execution, mod, "a")}).wantProblem(422, "invalid", "body[2].relative_path")
		at.post("/raw_data_files/bulk", []object{with(file(execution, mod, "a"), "id", id), with(file(execution, mod, "b"), "id", id)}).wantProblem(422, "invalid", "body[1].id")
		at.post("/raw_data_files/bulk", []object{file(execution, mod, "a"), file(uuid.NewString(), mod, "b")}).wantProblem(422, "invalid", "body[1].executed_obs_unit_id")
		at.post("/raw_data_files/bulk", []object{}).wantProblem(422, "invalid", "body")
		at.post("/raw_data_files/bulk", `{"a": 1}`).wantProblem(422, "invalid")
		if got := at.get("/raw_data_files?count=true&executed_obs_unit_id=" + execution).want(200).number("total"); got != 18 {
			t.Errorf("refused requests have registered %v files", got-18)
		}

		var lines strings.Builder
		for _, path := range []string{"n1", "n2"} {
			line, err := json.Marshal(file(execution, mod, path))
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
		if got := at.post("/raw_data_files/bulk", lines.String(), "Content-Type", "application/x-ndjson").want(201).number("count"); got != 2 {
			t.Errorf("NDJSON: count %v", got)
		}
	})
}

func TestBulkOfTenThousand(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod := module(t, s, "Mod280")
		execution := at.start(unit(t, s), nil).id()
		const n = 10_000
		files := make([]object, n)
		for i := range files {
			files[i] = file(execution, mod, fmt.Sprintf("17841/rfsoc01_drone1/r01d1_%05d.g3", i))
		}
		if got := at.post("/raw_data_files/bulk", files).want(201).number("count"); got != n {
			t.Fatalf("count: got %v", got)
		}
		detail := at.get("/executed_obs_units/" + execution).want(200)
		if detail.number("file_count") != n || len(detail.list("files")) != 100 {
			t.Errorf("detail: %v files, %d shown", detail["file_count"], len(detail.list("files")))
		}
		at.post("/raw_data_files/bulk", append(files, file(execution, mod, "one more"))).wantProblem(422, "invalid", "body")
		some := append(slices.Clone(files[:499]), file(execution, mod, "new"))
		if got := at.post("/raw_data_files/bulk", some).wantProblem(409, "file-exists").number("error_count"); got != 499 {
			t.Errorf("existing files: %v named", got)
		}
		if at == s.secondary {
			s.drain(t)
			eventually(t, "all files are at the primary", func() bool {
				return one[int64](t, s, "SELECT count(*) FROM raw_data_file WHERE executed_obs_unit_id = $1", execution) == 10_000
			})
		}
	})
}

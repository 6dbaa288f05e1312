package observations_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// register registers n files of an execution and gives their ids.
func (s *site) register(execution string, module int64, prefix string, n int, size int64) []string {
	s.t.Helper()
	files := make([]object, n)
	for i := range files {
		files[i] = with(file(execution, module, fmt.Sprintf("%s/%03d.g3", prefix, i)), "size_bytes", size)
	}
	var out []string
	for _, id := range s.post("/raw_data_files/bulk", files).want(201)["ids"].([]any) {
		out = append(out, id.(string))
	}
	return out
}

func TestPackageTakesAllFreeFilesOfItsPair(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod, other := module(t, s, "Mod280"), module(t, s, "EoR-Spec")
		execution := at.start(unit(t, s), object{"start_time": "2026-07-16T11:20:00Z"}).id()
		files := at.register(execution, mod, "a", 5, 1000)
		at.register(execution, other, "b", 2, 1000)

		a := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod, "metadata": object{"band": "280"}}, "Idempotency-Key", "p1")
		pack := a.want(http.StatusCreated)
		want := object{"status": "pending", "state": "waiting", "sequence": 1.0, "file_count": 5.0, "size_bytes": nil, "name": "OrionA-280_20260716T112000Z_Mod280_001.tar", "relative_path": "OrionA-280_20260716T112000Z_Mod280_001.tar"}
		for name, value := range want {
			if diff := cmp.Diff(value, pack[name]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if a.header.Get("Warning") != "" {
			t.Errorf("Warning: got %q", a.header.Get("Warning"))
		}
		detail := at.get("/raw_data_package/" + pack.id()).want(200)
		got := ids(detail.list("files"))
		slices.Sort(got)
		slices.Sort(files)
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]any{"band": "280"}, detail["metadata"]); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		if got := ids(at.get("/raw_data_files?raw_data_package_id=" + pack.id()).want(200).list("items")); len(got) != 5 {
			t.Errorf("filter raw_data_package_id: %d files", len(got))
		}
		if got := ids(at.get("/raw_data_files?unpackaged=true&executed_obs_unit_id=" + execution).want(200).list("items")); len(got) != 2 {
			t.Errorf("unpackaged: %d files", len(got))
		}
		if got := ids(at.get("/executed_obs_units/" + execution).want(200).list("packages")); !slices.Equal(got, []string{pack.id()}) {
			t.Errorf("the execution's packages: %v", got)
		}
		for _, filter := range []string{"status=pending", "state=waiting", "executed_obs_unit_id=" + execution, "file_count=5", "name_contains=20260716t11", "has_size_bytes=false", "has_failure_message=false", "sequence_max=1"} {
			if !slices.Contains(ids(at.get("/raw_data_package?limit=500&"+filter).want(200).list("items")), pack.id()) {
				t.Errorf("filter %s: the package is missing", filter)
			}
		}
		// A second one has the next number, and takes what has come meanwhile.
		more := at.register(execution, mod, "c", 1, 1000)
		second := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod}).want(201)
		if second.number("sequence") != 2 || second.number("file_count") != 1 || !strings.HasSuffix(second.text("name"), "_002.tar") {
			t.Errorf("second package: %v", second)
		}
		if got := ids(at.get("/raw_data_package/" + second.id()).want(200).list("files")); !slices.Equal(got, more) {
			t.Errorf("second package's files: %v", got)
		}
		at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod, "file_ids": more}).wantProblem(409, "file-in-package", "body.file_ids[0]")
		again := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod, "metadata": object{"band": "280"}}, "Idempotency-Key", "p1")
		if got := again.want(201).id(); got != pack.id() || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeat: got %s", got)
		}
	})
}

func TestPackageChecksWhatItIsGiven(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod, other := module(t, s, "Mod280"), module(t, s, "EoR-Spec")
		execution := at.start(unit(t, s), object{"start_time": "2026-07-16T11:20:00.1Z"}).id()
		files := at.register(execution, mod, "a", 3, 1000)
		stranger := at.register(execution, other, "b", 1, 1000)
		create := func(more object) *answer {
			body := object{"executed_obs_unit_id": execution, "instrument_module_id": mod}
			for name, value := range more {
				body[name] = value
			}
			return at.post("/raw_data_package", body)
		}
		create(object{"executed_obs_unit_id": uuid.NewString(), "instrument_module_id": 1 << 40}).wantProblem(422, "invalid", "body.executed_obs_unit_id", "body.instrument_module_id")
		create(object{"file_ids": []string{files[0], uuid.NewString(), stranger[0], files[0]}}).wantProblem(422, "invalid", "body.file_ids[1]", "body.file_ids[2]", "body.file_ids[3]")
		create(object{"name": strings.Repeat("é", 1025)}).wantProblem(422, "invalid", "body.name")
		named := create(object{"name": "mine.tar", "relative_path": "p/mine.tar", "file_ids": files[:1]}).want(201)
		if named.text("name") != "mine.tar" || named.text("relative_path") != "p/mine.tar" || named.number("file_count") != 1 {
			t.Errorf("named package: %v", named)
		}
		create(object{"name": "mine.tar", "file_ids": files[1:2]}).wantProblem(409, "package-exists", "body.name")
		create(object{"id": named.id()}).wantProblem(409, "id-taken", "body.id")
		// Another execution of the unit that began within the same second.
		twin := at.start(unit(t, s), object{"start_time": "2026-07-16T11:20:00.9Z"}).id()
		first := create(nil).want(201).text("name")
		second := create(object{"executed_obs_unit_id": twin}).want(201).text("name")
		if first == second {
			t.Errorf("two packages have the name %s", first)
		}
		at.register(twin, mod, "large", 3, 20_000_000_000)
		large := create(object{"executed_obs_unit_id": twin})
		large.want(201)
		if !strings.Contains(large.header.Get("Warning"), "60000000000") {
			t.Errorf("Warning: got %q", large.header.Get("Warning"))
		}
		at.register(twin, mod, "huge", 3, 40_000_000_000)
		create(object{"executed_obs_unit_id": twin}).wantProblem(422, "package-too-large")
		at.get("/raw_data_package/"+uuid.NewString()).wantProblem(404, "not-found", "path.id")
	})
}

func TestFinalizeCompletesOnce(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod := module(t, s, "Mod280")
		execution := at.start(unit(t, s), object{"start_time": "2026-07-17T11:20:00Z"}).id()
		files := at.register(execution, mod, "a", 4, 1000)
		a := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": mod, "file_ids": files[:2]})
		pack := a.want(201)
		body := object{"size_bytes": 2048, "checksum_algorithm": "sha256", "checksum": strings.Repeat("aBc0", 16), "file_ids": files[1:]}
		at.put("/raw_data_package/"+pack.id()+"/finalize", body, "If-Match", `"other.tag"`).wantProblem(412, "version-mismatch")
		done := at.put("/raw_data_package/"+pack.id()+"/finalize", body, "If-Match", a.header.Get("ETag"), "Idempotency-Key", "f").want(200)
		want := object{"status": "completed", "state": "waiting", "size_bytes": 2048.0, "checksum": strings.Repeat("abc0", 16), "file_count": 4.0, "version": 2.0, "name": pack["name"]}
		for name, value := range want {
			if diff := cmp.Diff(value, done[name]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		detail := at.get("/raw_data_package/" + pack.id()).want(200)
		if got := len(detail.list("files")); got != 4 {
			t.Errorf("files: got %d", got)
		}
		at.put("/raw_data_package/"+pack.id()+"/finalize", object{"size_bytes": 1, "checksum_algorithm": "xxh64", "checksum": "00ff00ff00ff00ff"}).wantProblem(409, "package-not-open")
		if diff := cmp.Diff(done, at.put("/raw_data_package/"+pack.id()+"/finalize", body, "If-Match", a.header.Get("ETag"), "Idempotency-Key", "f").want(200)); diff != "" {
			t.Errorf("repeat (-first +again):\n%s", diff)
		}
		at.put("/raw_data_package/"+uuid.NewString()+"/finalize", body).wantProblem(404, "not-found", "path.id")
	})
}

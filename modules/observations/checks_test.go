package observations_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestFilesAreCheckedAtTheDoor: what a record says of a file is one path, one name and
// one checksum, wherever it is written.
func TestFilesAreCheckedAtTheDoor(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		mod := module(t, s, "Mod280")
		execution := at.start(unit(t, s), nil).id()
		pack := object{"executed_obs_unit_id": execution, "instrument_module_id": mod}
		open := at.post("/raw_data_package", pack).want(201).id()
		sum := object{"size_bytes": 1, "checksum_algorithm": "xxh64", "checksum": "00ff00ff00ff00ff"}
		long := strings.Repeat("é", 1024) + "a"
		for member, values := range map[string][]string{
			"relative_path": {"a//b", "/a", "a/", "./a", "a/./b", "..", "a/../b", `a\b`, "a\nb", "a\u0085b", "\x7f", long},
			"name":          {".", "..", "a/b", "/", "a/", `a\b`, "a\tb", long},
			"checksum":      {"00ff00ff00ff00f", "00ff00ff00ff00ff0", "00ff00ff00ff00fg", "0x00ff00ff00ff00", strings.Repeat("0", 64)},
		} {
			for _, value := range values {
				if member == "checksum" {
					at.put("/raw_data_package/"+open+"/finalize", with(sum, member, value)).wantProblem(422, "invalid", "body."+member)
				} else {
					at.post("/raw_data_package", with(pack, member, value)).wantProblem(422, "invalid", "body."+member)
				}
				wrong := with(file(execution, mod, "x"), member, value)
				at.post("/raw_data_files", wrong).wantProblem(422, "invalid", "body."+member)
				at.post("/raw_data_files/bulk", []object{file(execution, mod, "y"), wrong}).wantProblem(422, "invalid", "body[1]."+member)
			}
		}
		sha := with(file(execution, mod, "x"), "checksum_algorithm", "sha256")
		at.post("/raw_data_files", sha).wantProblem(422, "invalid", "body.checksum")

		// In both cases, spelled in one; and what is odd but possible stays possible.
		upper := with(file(execution, mod, "...a b/ü…/.x"), "checksum", "00FF00FF00FF00FF")
		if got := at.post("/raw_data_files", upper).want(201); got.text("checksum") != "00ff00ff00ff00ff" || got.text("relative_path") != "...a b/ü…/.x" {
			t.Errorf("single: %v", got)
		}
		result := at.post("/raw_data_files/bulk", []object{with(sha, "checksum", strings.Repeat("AB", 32))}).want(201)
		if got := at.get(fmt.Sprint("/raw_data_files/", result["ids"].([]any)[0])).want(200).text("checksum"); got != strings.Repeat("ab", 32) {
			t.Errorf("bulk: %s", got)
		}
		if got := at.put("/raw_data_package/"+open+"/finalize", with(sum, "checksum", "00FF00FF00FF00FF")).want(200).text("checksum"); got != "00ff00ff00ff00ff" {
			t.Errorf("finalize: %s", got)
		}
	})
}

// TestFreeJSONIsBounded: a row with more of it cannot cross a slow line in time.
func TestFreeJSONIsBounded(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		free := func(bytes int) object { return object{"a": strings.Repeat("x", bytes-len(`{"a":""}`))} }
		most, more := free(256<<10), free(256<<10+1)
		planned := unit(t, s)
		at.post("/executed_obs_units/start", object{"obs_unit_id": planned, "conditions": more}).wantProblem(422, "invalid", "body.conditions")
		path := "/executed_obs_units/" + at.start(planned, object{"conditions": most}).id()
		at.do("PATCH", path, object{"conditions": more}).wantProblem(422, "invalid", "body.conditions")
		at.do("PATCH", path, object{"conditions": object{"b": 1}}).wantProblem(422, "invalid", "body.conditions")
		at.do("PATCH", path, object{"conditions": most}).want(200)
		at.put(path+"/finish", object{"status": "completed", "conditions": more}).wantProblem(422, "invalid", "body.conditions")
		at.put(path+"/finish", object{"status": "completed", "conditions": most}).want(200)
		pack := object{"executed_obs_unit_id": strings.TrimPrefix(path, "/executed_obs_units/"), "instrument_module_id": module(t, s, "Mod280")}
		at.post("/raw_data_package", with(pack, "metadata", more)).wantProblem(422, "invalid", "body.metadata")
		// jsonb writes numbers out: a short text would be an answer that no server can send, nor anybody read.
		huge := make([]json.Number, 1000)
		for i := range huge {
			huge[i] = []json.Number{"1e300", "-1E-300"}[i%2]
		}
		long := object{"a": huge}
		at.post("/executed_obs_units/start", object{"obs_unit_id": planned, "conditions": long}).wantProblem(422, "invalid", "body.conditions")
		at.post("/raw_data_package", with(pack, "metadata", long)).wantProblem(422, "invalid", "body.metadata")
		at.post("/raw_data_package", with(pack, "metadata", most)).want(201)
		other := "/executed_obs_units/" + at.start(planned, object{"conditions": object{"a": huge[:800]}}).id()
		at.do("PATCH", other, object{"conditions": object{"b": huge[:800]}}).wantProblem(422, "invalid", "body.conditions")
		at.put(other+"/finish", object{"status": "completed", "conditions": long}).wantProblem(422, "invalid", "body.conditions")
		at.do("PATCH", other, object{"conditions": object{"b": json.Number("1e300")}}).want(200)
		at.get(other).want(200)
	})
}

package planning_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/planning"
	"github.com/opsdb/opsdb/platform/record/recordtest"
)

// TestConfigurationsOfObsUnitsCanBeRead: an obs unit names one, and the telescope's
// software has to have what it says.
func TestConfigurationsOfObsUnitsCanBeRead(t *testing.T) {
	t.Parallel()
	const given = `{"scan_rate": 0.30, "huge": 123456789012345678901234567890, "nested": {"null": null, "list": [1.00, "ü<&>", true]}}`
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		var units struct{ Items []planning.ObsUnit }
		s.Get(t, "/obs_unit?name=OrionA-280").Into(t, &units)
		if len(units.Items) != 1 || units.Items[0].ObservationConfigurationID == nil {
			t.Fatalf("the unit has no configuration: %+v", units)
		}
		named := *units.Items[0].ObservationConfigurationID
		s.Exec(t, fmt.Sprintf("UPDATE observation_configuration SET parameters = '%s' WHERE id = %d", given, named))
		s.WaitForReplay(t)

		path := fmt.Sprintf("/observation_configurations/%d", named)
		answer := s.Get(t, path)
		var one, listed map[string]json.RawMessage
		answer.Into(t, &one)
		if diff := cmp.Diff(literal(t, given), literal(t, string(one["parameters"]))); diff != "" {
			t.Errorf("parameters (-given +returned):\n%s", diff)
		}
		if again := s.Get(t, path, "If-None-Match", answer.Header.Get("ETag")); again.Status != http.StatusNotModified {
			t.Errorf("If-None-Match: %d", again.Status)
		}

		all := s.Walk(t, "/observation_configurations", "500")
		if len(all.Items) < 2 || *all.Total != int64(len(all.Items)) {
			t.Fatalf("%d configurations, total %v", len(all.Items), all.Total)
		}
		if walked := s.Walk(t, "/observation_configurations", "1"); !slices.Equal(walked.Names(), all.Names()) {
			t.Errorf("page by page: %v, want %v", walked.Names(), all.Names())
		}
		var name string
		if err := json.Unmarshal(one["name"], &name); err != nil {
			t.Fatal(err)
		}
		var page struct{ Items []map[string]json.RawMessage }
		s.Get(t, "/observation_configurations?instrument_id="+string(one["instrument_id"])+"&name="+name+"&name_contains="+name[:2]).Into(t, &page)
		if len(page.Items) != 1 {
			t.Fatalf("by name and instrument: %d", len(page.Items))
		}
		listed = page.Items[0]
		if diff := cmp.Diff(one, listed); diff != "" {
			t.Errorf("the same in its detail and in a list (-detail +list):\n%s", diff)
		}
		for query, status := range map[string]int{
			"?instrument_id=999999": http.StatusOK, "/0": http.StatusNotFound, "/x": http.StatusUnprocessableEntity, "?colour=red": http.StatusUnprocessableEntity,
		} {
			if got := s.Get(t, "/observation_configurations"+query); got.Status != status {
				t.Errorf("%s: %d %s, want %d", query, got.Status, got.Body, status)
			}
		}
		if got := s.List(t, "/observation_configurations?instrument_id=999999").Names(); len(got) != 0 {
			t.Errorf("of no instrument: %v", got)
		}
	})
}

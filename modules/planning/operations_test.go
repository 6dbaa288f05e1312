package planning_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/planning"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/record/recordtest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func register(r *api.Router, reader record.Reader) { planning.New(reader).Register(r) }

func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		program := func(short string) string { return fmt.Sprint(id(t, s, "/observing_program?short_name="+short)) }
		source := func(name string) string { return fmt.Sprint(id(t, s, "/sources?name="+name)) }
		geco := []string{"GEco-30Dor", "GEco-CMZ-CI", "GEco-M17-CI", "GEco-NGC253", "GEco-OrionA-CI", "GEco-OrionA-CO"}
		for query, want := range map[string][]string{
			"/sources?kind=solar_system":                                                {"Ceres", "Jupiter", "Mars", "Neptune", "Saturn", "Uranus"},
			"/sources?kind=constant_elevation":                                          {"CMB-Stripe", "Deep56", "OrionA-CES", "Wide01"},
			"/sources?name=M%2083,Cen%20A":                                              {"Cen A", "M 83"},
			"/sources?name_contains=orion":                                              {"Orion A", "Orion-KL", "OrionA-CES"},
			"/sources?q=tarantula":                                                      {"30 Doradus"},
			"/sources?q=NGC%205128":                                                     {"Cen A"},
			"/sources?q=cat's":                                                          {"NGC 6334 I"},
			"/sources?body_name=mars":                                                   {"Mars"},
			"/sources?v_lsr_km_s_min=500":                                               {"M 83", "NGC 4945", "Cen A"},
			"/sources?has_v_lsr_km_s=false&kind=fixed&dec_deg_min=0":                    {"E-COSMOS", "Tau A"},
			"/sources?ra_deg_min=250&ra_deg_max=267&kind=fixed":                         {"CMZ (Sgr A*)", "NGC 6334 I", "Sgr B2(M)"},
			"/sources?ra=83.8&dec=-5.5&radius_deg=1":                                    {"Orion A", "Orion-KL", "OrionA-CES"},
			"/sources?ra=84&dec=-69.5&radius_deg=1&q=lmc":                               {},
			"/sources?ra=84&dec=-69.5&radius_deg=1":                                     {"30 Doradus", "N159W"},
			"/obs_modes?pattern=pong,daisy":                                             {"daisy", "pong"},
			"/obs_modes?name_contains=dip":                                              {"sky_dip"},
			"/observing_program?kind=technical":                                         {"Calibration", "Commissioning", "Engineering"},
			"/observing_program?has_instrument_id=false":                                {"Calibration", "Commissioning", "Engineering"},
			"/observing_program?allocated_hours_min=1000":                               {"Deep Spectroscopic Survey", "Wide Field Survey"},
			"/observing_program?has_allocated_hours=false&short_name_contains=o":        {"Commissioning"},
			"/observing_program?q=dusty":                                                {"Wide Field Survey"},
			"/observing_program/GEco/sub_programs":                                      {"Galactic Centre / CMZ", "Magellanic Clouds", "Milky Way clouds", "Nearby galaxies"},
			"/observing_program/GEco/sub_programs?short_name=GEco-NG,GEco-MC":           {"Magellanic Clouds", "Nearby galaxies"},
			"/observing_program/" + program("GEco") + "/sub_programs?name_contains=way": {"Milky Way clouds"},
			"/observing_program/DSS/sub_programs":                                       {},
			"/obs_unit?observing_program_id=" + program("GEco"):                         geco,
			"/obs_unit?has_sub_observing_program_id=true":                               geco,
			"/obs_unit?source_id=" + source("Orion%20A"):                                {"GEco-OrionA-CI", "GEco-OrionA-CO", "TDS-OrionA-weekly"},
			"/obs_unit?priority_max=5":                                                  {"Cal-Jupiter-beam", "Cal-Uranus-flux"},
			"/obs_unit?priority=10,9":                                                   {"ENG-skydip", "GEco-CMZ-CI"},
			"/obs_unit?requested_seconds_min=7200000":                                   {"DSS-COSMOS", "DSS-ECDFS"},
			"/obs_unit?max_pwv_mm_max=0.5":                                              {},
			"/obs_unit?has_max_pwv_mm=true":                                             geco,
			"/obs_unit?has_line_id=true&has_sub_observing_program_id=false":             {"Cal-IRC10216-line"},
			"/obs_unit?has_observation_configuration_id=false":                          {"ENG-skydip"},
			"/obs_unit?q=crab":                                                          {"Cal-TauA-pol"},
			"/obs_unit?q=transients":                                                    {"TDS-OrionA-weekly"},
			"/obs_unit?name_contains=DEEP56&available=true":                             {"WFS-Deep56-rising", "WFS-Deep56-setting"},
			"/obs_unit?name=OrionA-280":                                                 {"OrionA-280"},
			"/obs_unit?obs_mode_id=99&instrument_id=99&line_id=99&sub_observing_program_id=99&observation_configuration_id=99": {},
		} {
			want = slices.Clone(want)
			got := s.List(t, query).Names()
			// The order of names is the database's; that a page follows it is what is checked below.
			sorted := slices.Sorted(slices.Values(got))
			slices.Sort(want)
			if diff := cmp.Diff(want, sorted, equateEmpty); diff != "" {
				t.Errorf("%s (-want +got):\n%s", query, diff)
			}
			if walked := s.Walk(t, query, "2"); !slices.Equal(walked.Names(), got) || walked.Total == nil || *walked.Total != int64(len(want)) {
				t.Errorf("%s page by page: %v, want %v, total %v", query, walked.Names(), got, walked.Total)
			}
		}
		if walked := s.Walk(t, "/sources", "7"); len(walked.Items) != 33 || *walked.Total != 33 || len(unique(walked.Names())) != 33 {
			t.Errorf("all sources page by page: %d, total %d", len(walked.Items), *walked.Total)
		}
	})
}

var equateEmpty = cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })

func unique(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// TestConeIsACircleOnTheSphere holds the cone in SQL against the angle between unit vectors, over the pole and over 0 h.
func TestConeIsACircleOnTheSphere(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, false, register)
	s.Exec(t, `INSERT INTO source (name, kind, ra_deg, dec_deg) SELECT 'grid ' || ra || ' ' || dec, 'fixed', ra, dec FROM generate_series(0, 357, 7) ra, generate_series(-88, 88, 11) dec`)
	type place struct {
		name    string
		ra, dec float64
	}
	var places []place
	for _, item := range s.Walk(t, "/sources", "500").Items {
		p := place{name: fmt.Sprint(item["name"])}
		switch item["kind"] {
		case "fixed":
			p.ra, p.dec = item["ra_deg"].(float64), item["dec_deg"].(float64)
		case "constant_elevation":
			low, high := item["area_ra_min_deg"].(float64), item["area_ra_max_deg"].(float64)
			if low > high {
				high += 360
			}
			p.ra, p.dec = math.Mod((low+high)/2, 360), (item["area_dec_min_deg"].(float64)+item["area_dec_max_deg"].(float64))/2
		default:
			continue
		}
		places = append(places, p)
	}
	vector := func(ra, dec float64) [3]float64 {
		ra, dec = ra*math.Pi/180, dec*math.Pi/180
		return [3]float64{math.Cos(dec) * math.Cos(ra), math.Cos(dec) * math.Sin(ra), math.Sin(dec)}
	}
	angle := func(a, b [3]float64) float64 {
		cross := [3]float64{a[1]*b[2] - a[2]*b[1], a[2]*b[0] - a[0]*b[2], a[0]*b[1] - a[1]*b[0]}
		return math.Atan2(math.Sqrt(cross[0]*cross[0]+cross[1]*cross[1]+cross[2]*cross[2]), a[0]*b[0]+a[1]*b[1]+a[2]*b[2]) * 180 / math.Pi
	}
	for _, c := range []struct{ ra, dec, radius float64 }{{0, 0, 9}, {359.5, -3, 12}, {120, 89, 20}, {10, -90, 5}, {180, 20, 180}, {83.8104, -5.375, 0.001}, {0, 0, 0}, {360, 0, 9}} {
		centre, want := vector(c.ra, c.dec), []string{}
		for _, p := range places {
			if angle(centre, vector(p.ra, p.dec)) <= c.radius {
				want = append(want, p.name)
			}
		}
		got := s.Walk(t, fmt.Sprintf("/sources?ra=%v&dec=%v&radius_deg=%v", c.ra, c.dec, c.radius), "500").Names()
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cone %+v (-want +got):\n%s", c, diff)
		}
	}
}

func TestObsUnitHasItsParts(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		path := fmt.Sprintf("/obs_unit/%d", id(t, s, "/obs_unit?name=OrionA-280"))
		var unit, listed planning.ObsUnit
		answer := s.Get(t, path)
		answer.Into(t, &unit)
		var ranges []string
		for _, r := range unit.AzimuthRanges {
			ranges = append(ranges, fmt.Sprintf("%v %v-%v %v", r.ElevationDeg, r.AzimuthMinDeg, r.AzimuthMaxDeg, *r.DurationSeconds))
		}
		if want := []string{"41.09 75.86-78.72 540", "43.11 74.49-77.46 540", "45.13 73.05-76.12 540", "47.14 71.5-74.71 540"}; !slices.Equal(ranges, want) {
			t.Errorf("azimuth ranges %q, want %q", ranges, want)
		}
		if len(unit.ModuleConfigurationIDs) != 1 || len(unit.Slots) != 0 || unit.Slots == nil {
			t.Errorf("configurations %v, slots %v", unit.ModuleConfigurationIDs, unit.Slots)
		}
		var page struct{ Items []planning.ObsUnit }
		s.Get(t, "/obs_unit?name=OrionA-280,Cal-Jupiter-beam").Into(t, &page)
		listed = page.Items[1]
		if diff := cmp.Diff(unit, listed); diff != "" {
			t.Errorf("the same unit in its detail and in a list (-detail +list):\n%s", diff)
		}
		jupiter := page.Items[0]
		if len(jupiter.Slots) != 1 || !jupiter.Slots[0].StartTime.Equal(time.Date(2026, 10, 1, 11, 10, 0, 0, time.UTC)) || len(jupiter.AzimuthRanges) != 3 {
			t.Errorf("Jupiter's slots %v and ranges %v", jupiter.Slots, jupiter.AzimuthRanges)
		}
		tag := answer.Header.Get("ETag")
		if again := s.Get(t, path, "If-None-Match", tag); again.Status != http.StatusNotModified {
			t.Errorf("If-None-Match: %d", again.Status)
		}
		s.Exec(t, "UPDATE obs_unit_azimuth_range SET label = 'changed' WHERE label = 'step 2'")
		s.WaitForReplay(t)
		if again := s.Get(t, path, "If-None-Match", tag); again.Status != http.StatusOK {
			t.Errorf("If-None-Match after a change of a part: %d", again.Status)
		}
	})
}

func TestFreeJSONComesBackUnchanged(t *testing.T) {
	t.Parallel()
	const given = `{"R0": 0.30, "name": "x", "num_terms": 5.0, "huge": 123456789012345678901234567890, "nested": {"null": null, "list": [1.00, "ü\"<&>", true]}}`
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		s.Exec(t, "UPDATE obs_unit SET mapping_parameters = '"+given+"', additional_params = '"+given+"' WHERE name = 'OrionA-280'")
		s.WaitForReplay(t)
		var unit map[string]json.RawMessage
		s.Get(t, fmt.Sprintf("/obs_unit/%d", id(t, s, "/obs_unit?name=OrionA-280"))).Into(t, &unit)
		for _, column := range []string{"mapping_parameters", "additional_params"} {
			if diff := cmp.Diff(literal(t, given), literal(t, string(unit[column]))); diff != "" {
				t.Errorf("%s (-given +returned):\n%s", column, diff)
			}
		}
	})
}

// literal decodes JSON with its numbers as they are written.
func literal(t *testing.T, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestProgrammeByIDAndByShortName(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		number := id(t, s, "/observing_program?short_name=GPol")
		byID, byName := s.Get(t, fmt.Sprintf("/observing_program/%d", number)), s.Get(t, "/observing_program/GPol")
		if byID.Status != http.StatusOK || byID.Body != byName.Body || byID.Header.Get("ETag") != byName.Header.Get("ETag") {
			t.Errorf("by id: %d %s\nby short name: %d %s", byID.Status, byID.Body, byName.Status, byName.Body)
		}
		var detail planning.ObservingProgramDetail
		byName.Into(t, &detail)
		want := planning.ObservingProgramProgress{RequestedHours: 20, ExecutedHours: 0.6, ObsUnits: 1, Completed: 4}
		if diff := cmp.Diff(want, detail.Progress, roughly); diff != "" {
			t.Errorf("progress of GPol (-want +got):\n%s", diff)
		}
		for path, status := range map[string]int{
			"/observing_program/0": http.StatusNotFound, "/observing_program/9223372036854775808": http.StatusNotFound,
			"/observing_program/99999999999999999999999": http.StatusNotFound, "/observing_program/gpol": http.StatusNotFound,
			"/observing_program/-1": http.StatusNotFound, "/observing_program/GEco%20": http.StatusNotFound,
			"/observing_program/nope/sub_programs": http.StatusNotFound, "/sources/0": http.StatusNotFound, "/obs_unit/0": http.StatusNotFound,
			"/obs_unit/x": http.StatusUnprocessableEntity, "/sources?ra=1&dec=2": http.StatusUnprocessableEntity, "/obs_unit?priority_min=x": http.StatusUnprocessableEntity,
		} {
			if got := s.Get(t, path); got.Status != status || got.Header.Get("Content-Type") != problem.ContentType {
				t.Errorf("%s: %d %s, want %d", path, got.Status, got.Body, status)
			}
		}
	})
}

var roughly = cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })

// TestProgressCountsPendingExecutions: what the site has accepted and main does not have yet counts at once.
func TestProgressCountsPendingExecutions(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, true, register)
	unit := id(t, s, "/obs_unit?name=TDS-OrionA-weekly")
	progress := func() planning.ObservingProgramProgress {
		var detail planning.ObservingProgramDetail
		s.Get(t, "/observing_program/TDS").Into(t, &detail)
		return detail.Progress
	}
	before := progress()
	if want := (planning.ObservingProgramProgress{RequestedHours: 50, ObsUnits: 1, Running: 1, Aborted: 1}); before != want {
		t.Fatalf("before: %+v, want %+v", before, want)
	}
	execution := uuid.MustParse("0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c")
	s.Pend(t, pending.Change{Table: "executed_obs_unit", ID: execution, Op: pending.OpCreate, Columns: json.RawMessage(fmt.Sprintf(
		`{"id": %q, "obs_unit_id": %d, "azimuth_range_id": null, "pre_scheduled_slot_id": null, "status": "running", "start_time": "2026-11-24T01:00:00Z", "end_time": null,
		"mean_azimuth_deg": null, "mean_elevation_deg": null, "pwv_mm": null, "conditions": {}, "comment": "", "recorded_by": null, "origin_site_id": %d, "version": 1,
		"created_at": "2026-11-24T01:00:00Z", "updated_at": "2026-11-24T01:00:00Z"}`, execution, unit, s.SiteID))})
	if got, want := progress(), (planning.ObservingProgramProgress{RequestedHours: 50, ObsUnits: 1, Running: 2, Aborted: 1}); got != want {
		t.Errorf("with a pending start: %+v, want %+v", got, want)
	}
	s.Pend(t, pending.Change{Table: "executed_obs_unit", ID: execution, Op: pending.OpUpdate, Columns: json.RawMessage(
		`{"status": "completed", "end_time": "2026-11-24T02:30:00Z", "updated_at": "2026-11-24T02:30:00Z"}`)})
	if got, want := progress(), (planning.ObservingProgramProgress{RequestedHours: 50, ExecutedHours: 1.5, ObsUnits: 1, Running: 1, Completed: 1, Aborted: 1}); !cmp.Equal(got, want, roughly) {
		t.Errorf("with a pending finish: %+v, want %+v", got, want)
	}
	// The stored running one is finished here: its row at the replica must not count beside it.
	var stored uuid.UUID
	if err := s.Replica(t).QueryRow(sandboxtest.Context(t), "SELECT id FROM executed_obs_unit WHERE status = 'running'").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	s.Pend(t, pending.Change{Table: "executed_obs_unit", ID: stored, Op: pending.OpUpdate, Columns: json.RawMessage(`{"status": "failed", "end_time": "2099-01-01T00:00:00Z"}`)})
	if got, want := progress(), (planning.ObservingProgramProgress{RequestedHours: 50, ExecutedHours: 1.5, ObsUnits: 1, Completed: 1, Aborted: 1, Failed: 1}); !cmp.Equal(got, want, roughly) {
		t.Errorf("with a stored one finished: %+v, want %+v", got, want)
	}
	if got := s.Get(t, "/observing_program/GEco"); got.Status != http.StatusOK || strings.Contains(got.Body, `"running":1`) {
		t.Errorf("another programme's progress: %s", got.Body)
	}
}

// TestProgressWithoutRedis: figures made of pending rows must not silently lack them; records that have none still answer.
func TestProgressWithoutRedis(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, true, register)
	s.RedisAway(t)
	if got := s.Get(t, "/observing_program/GEco"); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "pending-unavailable") {
		t.Errorf("progress without Redis: %d %s", got.Status, got.Body)
	}
	if got := s.Get(t, "/observing_program/GEco", "X-Overlay", "optional"); got.Status != http.StatusOK || got.Header.Get("X-Overlay") != "unavailable" {
		t.Errorf("progress without Redis, marked: %d %v %s", got.Status, got.Header, got.Body)
	}
	for _, path := range []string{"/observing_program", "/observing_program/GEco/sub_programs", "/sources", "/obs_unit", "/obs_modes"} {
		if got := s.Get(t, path); got.Status != http.StatusOK || got.Header.Get("X-Overlay") != "" {
			t.Errorf("%s without Redis: %d", path, got.Status)
		}
	}
}

func TestReadsNeedThePermission(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, false, register)
	for path, permission := range map[string]string{
		"/sources": "read:sources", "/sources/1": "read:sources", "/obs_modes": "read:instruments", "/observing_program": "read:programs",
		"/observing_program/GEco": "read:programs", "/observing_program/GEco/sub_programs": "read:programs", "/obs_unit": "read:observations", "/obs_unit/1": "read:observations",
		"/observation_configurations": "read:observations", "/observation_configurations/1": "read:observations",
	} {
		if got := s.GetAs(t, permission, path); got.Status != http.StatusOK {
			t.Errorf("%s with %s: %d", path, permission, got.Status)
		}
		if got := s.GetAs(t, "write:observations,read:files", path); got.Status != http.StatusForbidden {
			t.Errorf("%s without %s: %d", path, permission, got.Status)
		}
		if got := s.GetAs(t, "", path); got.Status != http.StatusUnauthorized {
			t.Errorf("%s without a credential: %d", path, got.Status)
		}
	}
}

func id(t *testing.T, s *recordtest.Site, query string) int64 {
	t.Helper()
	var page struct{ Items []struct{ ID int64 } }
	s.Get(t, query).Into(t, &page)
	if len(page.Items) != 1 {
		t.Fatalf("%s: %d records", query, len(page.Items))
	}
	return page.Items[0].ID
}

func TestEveryConstraintIsMapped(t *testing.T) {
	t.Parallel()
	recordtest.Mapped(t, planning.Problems, "source", "obs_mode", "observing_program", "sub_observing_program", "observation_configuration", "obs_unit", "obs_unit_module_configuration", "obs_unit_azimuth_range", "pre_scheduled_slot")
}

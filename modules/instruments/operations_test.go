package instruments_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/instruments"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/record/recordtest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func register(r *api.Router, reader record.Reader) { instruments.New(reader).Register(r) }

func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		chai, prime := idOf(t, s, "CHAI"), idOf(t, s, "Prime-Cam")
		for query, want := range map[string][]string{
			"/observatories":                          {"CCAT Observatory"},
			"/observatories?short_name=CCAT":          {"CCAT Observatory"},
			"/observatories?name_contains=ccat":       {"CCAT Observatory"},
			"/observatories?name=Other":               {},
			"/telescopes?short_name=FYST,XYZ":         {"Fred Young Submillimeter Telescope"},
			"/telescopes?observatory_id=999":          {},
			"/instruments":                            {"CHAI", "Mod-Cam", "Prime-Cam"},
			"/instruments?kind=camera":                {"Mod-Cam", "Prime-Cam"},
			"/instruments?kind=camera&available=true": {"Prime-Cam"},
			"/instruments?name_contains=CAM":          {"Mod-Cam", "Prime-Cam"},
			"/instruments?name=CHAI,Mod-Cam":          {"CHAI", "Mod-Cam"},
			"/instruments?telescope_id=0":             {},
			"/spectral_lines?species=CO":              {"CO 4-3", "CO 7-6"},
			"/spectral_lines?rest_frequency_ghz_min=800&rest_frequency_ghz_max=900": {"CO 7-6", "[CI] 2-1"},
			"/spectral_lines?name_contains=%25":                                     {},
			chai + "/modules":                                                       {"HFA", "LFA", "Mini-CHAI"},
			chai + "/modules?available=false":                                       {"Mini-CHAI"},
			chai + "/modules?pixel_count_max=63":                                    {"Mini-CHAI"},
			chai + "/modules?frequency_min_ghz_min=500":                             {"HFA"},
			chai + "/modules?frequency_max_ghz_max=500":                             {"LFA"},
			prime + "/modules?pixel_count=6500,41400":                               {"EoR-Spec", "Mod850"},
			prime + "/modules?pixel_count_min=99999999999":                          {},
			prime + "/modules?name=CMB350":                                          {"CMB350"},
		} {
			page := s.List(t, query)
			if diff := cmp.Diff(want, page.Names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", query, diff)
			}
			if walked := s.Walk(t, query, "1"); !slices.Equal(walked.Names(), want) || walked.Total == nil || *walked.Total != int64(len(want)) {
				t.Errorf("%s page by page: %v, total %v", query, walked.Names(), walked.Total)
			}
		}
	})
}

func TestConfigurationsOfAModule(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		for _, item := range s.List(t, idOf(t, s, "CHAI")+"/modules?name=LFA").Items {
			path := fmt.Sprintf("/instrument_modules/%v", item["id"])
			for query, want := range map[string][]string{
				"/configurations":                    {"LFA-CI10", "LFA-CO43"},
				"/configurations?name_contains=co":   {"LFA-CO43"},
				"/configurations?has_line_id=false":  {},
				"/configurations?available=true":     {"LFA-CI10", "LFA-CO43"},
				"/configurations?line_id=1000000000": {},
			} {
				if diff := cmp.Diff(want, s.List(t, path+query).Names()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", query, diff)
				}
			}
		}
		for _, item := range s.List(t, idOf(t, s, "Prime-Cam")+"/modules?name=Mod280").Items {
			page := s.List(t, fmt.Sprintf("/instrument_modules/%v/configurations", item["id"]))
			want := map[string]any{"tones_per_feedline": 576.0, "sample_rate_hz": 488.0}
			if diff := cmp.Diff(want, page.Items[0]["parameters"]); diff != "" {
				t.Errorf("parameters of Mod280 (-want +got):\n%s", diff)
			}
		}
	})
}

func TestOneRecord(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		path := idOf(t, s, "CHAI")
		answer := s.Get(t, path)
		var got map[string]any
		answer.Into(t, &got)
		if got["name"] != "CHAI" || got["kind"] != "heterodyne" || got["available"] != true {
			t.Errorf("%s: %v", path, got)
		}
		tag := answer.Header.Get("ETag")
		if again := s.Get(t, path, "If-None-Match", tag); again.Status != http.StatusNotModified || again.Body != "" || again.Header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %s", tag, again.Status, again.Body)
		}
		s.Exec(t, "UPDATE instrument SET available = false, version = version + 1 WHERE name = 'CHAI'")
		s.WaitForReplay(t)
		if changed := s.Get(t, path, "If-None-Match", tag); changed.Status != http.StatusOK || changed.Header.Get("ETag") == tag {
			t.Errorf("after a change If-None-Match answers %d", changed.Status)
		}
		if answer.Header.Get("X-Replay-LSN") == "" {
			t.Error("the answer does not tell how far its database had replayed")
		}
	})
}

func TestUnknownAndForbidden(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		chai := idOf(t, s, "CHAI")
		for path, want := range map[string]int{
			"/instruments/99999":                   http.StatusNotFound,
			"/instruments/99999/modules":           http.StatusNotFound,
			"/instrument_modules/99999":            http.StatusNotFound,
			"/instrument_modules/0/configurations": http.StatusNotFound,
			"/instruments/abc":                     http.StatusUnprocessableEntity,
			"/instruments?kind=radio":              http.StatusUnprocessableEntity,
			"/instruments?colour=red":              http.StatusUnprocessableEntity,
			"/instruments?limit=0":                 http.StatusUnprocessableEntity,
			"/instruments?cursor=nonsense":         http.StatusUnprocessableEntity,
			chai + "/modules?available=maybe":      http.StatusUnprocessableEntity,
			chai + "/modules?pixel_count_min=1.5":  http.StatusUnprocessableEntity,
		} {
			if got := s.Get(t, path); got.Status != want || got.Header.Get("Content-Type") != problem.ContentType {
				t.Errorf("%s: %d %s, want %d", path, got.Status, got.Body, want)
			}
		}
		for _, path := range []string{"/observatories", "/telescopes", "/spectral_lines", "/instruments", chai, chai + "/modules", "/instrument_modules/1", "/instrument_modules/1/configurations"} {
			if got := s.GetAs(t, "read:sources,write:instruments", path); got.Status != http.StatusForbidden {
				t.Errorf("%s without read:instruments: %d", path, got.Status)
			}
			if got := s.GetAs(t, "", path); got.Status != http.StatusUnauthorized {
				t.Errorf("%s without a credential: %d", path, got.Status)
			}
		}
	})
}

func TestPageGoesOnAfterItsLastRowWhateverWasAdded(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		first := s.List(t, "/spectral_lines?limit=2")
		s.Exec(t, "INSERT INTO spectral_line (name, species, transition, rest_frequency_ghz) VALUES ('0 first', 'x', 'y', 1), ('zz last', 'x', 'y', 1)")
		s.WaitForReplay(t)
		names := first.Names()
		for page := first; page.NextCursor != nil; {
			page = s.List(t, "/spectral_lines?limit=2&cursor="+*page.NextCursor)
			names = append(names, page.Names()...)
		}
		all := s.List(t, "/spectral_lines").Names()
		if want := slices.DeleteFunc(all, func(n string) bool { return n == "0 first" }); !slices.Equal(names, want) {
			t.Errorf("page by page %v, want %v", names, want)
		}
		if got := s.Get(t, "/spectral_lines?species=CO&cursor="+*first.NextCursor); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("a cursor of other filters: %d", got.Status)
		}
	})
}

func TestRedisAwayIsNoReasonToRefuse(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, true, register)
	s.RedisAway(t)
	if got := s.List(t, "/instruments").Names(); len(got) != 3 {
		t.Errorf("without Redis: %v", got)
	}
}

func TestEveryConstraintIsMapped(t *testing.T) {
	t.Parallel()
	recordtest.Mapped(t, instruments.Problems, "observatory", "telescope", "instrument", "instrument_module", "spectral_line", "instrument_module_configuration")
}

// idOf returns the path of an instrument.
func idOf(t *testing.T, s *recordtest.Site, name string) string {
	t.Helper()
	page := s.List(t, "/instruments?name="+name)
	if len(page.Items) != 1 {
		t.Fatalf("%d instruments of the name %s", len(page.Items), name)
	}
	return fmt.Sprintf("/instruments/%v", page.Items[0]["id"])
}

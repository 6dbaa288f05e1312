package transfers_test

import (
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/transfers"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/record/recordtest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func register(r *api.Router, reader record.Reader) { transfers.New(reader).Register(r) }

func TestListsAreFiltered(t *testing.T) {
	t.Parallel()
	recordtest.Both(t, register, func(t *testing.T, s *recordtest.Site) {
		site := func(short string) string { return id(t, s, "/sites?short_name="+short) }
		for query, want := range map[string][]string{
			"/sites":                        {"CCAT observatory", "Cologne", "Cornell"},
			"/sites?is_main=true":           {"Cologne"},
			"/sites?short_name_contains=CO": {"Cologne", "Cornell"},
			"/sites?name=Cornell":           {"Cornell"},
			"/data_locations?location_type=long_term_archive":                                               {"lta", "lta", "tape_vault"},
			"/data_locations?storage_type=tape,s3":                                                          {"lta", "lta", "tape_vault"},
			"/data_locations?site_id=" + site("observatory"):                                                {"chai_raw_data", "output_buffer", "output_buffer_2", "primecam_raw_data"},
			"/data_locations?has_instrument_id=true":                                                        {"chai_raw_data", "primecam_raw_data"},
			"/data_locations?priority_min=20":                                                               {"output_buffer_2", "tape_vault"},
			"/data_locations?priority=20":                                                                   {"output_buffer_2"},
			"/data_locations?priority_max=-99999999999":                                                     {},
			"/data_locations?name_contains=_":                                                               {"chai_raw_data", "input_buffer", "input_buffer", "output_buffer", "output_buffer_2", "primecam_raw_data", "ramses_processing", "tape_vault"},
			"/data_locations?active=false":                                                                  {},
			"/data_transfer_routes":                                                                         {"ccat_to_cologne", "ccat_to_us", "chai_fast_lane", "cologne_to_us"},
			"/data_transfer_routes?route_type=relay,custom":                                                 {"ccat_to_us", "chai_fast_lane"},
			"/data_transfer_routes?method=rsync":                                                            {},
			"/data_transfer_routes?relay_site_id=" + site("cologne"):                                        {"ccat_to_us"},
			"/data_transfer_routes?origin_site_id=" + site("cologne"):                                       {"cologne_to_us"},
			"/data_transfer_routes?destination_site_id=" + site("cornell") + "&priority_max=10&active=true": {"cologne_to_us"},
		} {
			if diff := cmp.Diff(want, s.List(t, query).Names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", query, diff)
			}
			if walked := s.Walk(t, query, "1"); !slices.Equal(walked.Names(), want) || walked.Total == nil || *walked.Total != int64(len(want)) {
				t.Errorf("%s page by page: %v, total %v", query, walked.Names(), walked.Total)
			}
		}
	})
}

func TestListsNeedThePermission(t *testing.T) {
	t.Parallel()
	s := recordtest.New(t, false, register)
	for _, path := range []string{"/sites", "/data_locations", "/data_transfer_routes"} {
		if got := s.GetAs(t, "read:instruments,write:transfers", path); got.Status != http.StatusForbidden {
			t.Errorf("%s without read:transfers: %d", path, got.Status)
		}
		if got := s.GetAs(t, "", path); got.Status != http.StatusUnauthorized {
			t.Errorf("%s without a credential: %d", path, got.Status)
		}
		if got := s.Get(t, path+"?name=a&name=b"); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s with a repeated parameter: %d", path, got.Status)
		}
	}
}

func TestSiteIsAddedOnce(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx, main := sandboxtest.Context(t), pair.Primary(t)
	latitude := 50.5
	site := transfers.NewSite{ShortName: "effelsberg", Name: "Effelsberg", Location: "Eifel", LatitudeDeg: &latitude}
	for _, want := range []bool{true, false} {
		if added, err := transfers.AddSite(ctx, main, site); err != nil || added != want {
			t.Errorf("added %t (%v), want %t", added, err, want)
		}
		site.Name = "Another name"
	}
	var name string
	var batch, rows int64
	if err := main.QueryRow(ctx, "SELECT s.name, t.batch, (SELECT count(*) FROM site_status) FROM site s JOIN site_status t ON t.site = s.short_name WHERE s.short_name = 'effelsberg'").Scan(&name, &batch, &rows); err != nil {
		t.Fatal(err)
	}
	if name != "Effelsberg" || batch != 0 || rows != 3 {
		t.Errorf("site %s with batch %d, %d rows of status", name, batch, rows)
	}
	for _, wrong := range []transfers.NewSite{
		{ShortName: "Köln", Name: "x"}, {ShortName: "", Name: "x"}, {ShortName: "a-b", Name: "x"}, {ShortName: "second", Name: "x", Main: true}, {ShortName: "third", Name: ""},
	} {
		if added, err := transfers.AddSite(ctx, main, wrong); err == nil || added {
			t.Errorf("%+v is added", wrong)
		}
	}
	if err := main.QueryRow(ctx, "SELECT count(*) FROM site_status").Scan(&rows); err != nil || rows != 3 {
		t.Errorf("%d rows of status after refusals (%v)", rows, err)
	}
}

func id(t *testing.T, s *recordtest.Site, query string) string {
	t.Helper()
	page := s.List(t, query)
	if len(page.Items) != 1 {
		t.Fatalf("%s: %d records", query, len(page.Items))
	}
	number, _ := page.Items[0]["id"].(float64)
	return strconv.FormatInt(int64(number), 10)
}

func TestEveryConstraintIsMapped(t *testing.T) {
	t.Parallel()
	recordtest.Mapped(t, transfers.Problems, "site", "data_location", "data_transfer_route", "data_transfer_package", "data_transfer", "long_term_archive_transfer", "transfer_log", "staging_job", "staging_job_package")
}

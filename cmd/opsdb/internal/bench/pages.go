package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// page is one page that P5 asks for.
type page struct {
	name  string
	path  string
	query url.Values
}

// pagesOf are the pages of P5: no filter, each simple filter, one execution's files.
// Half of what is pending is finished, so two of the three statuses match a half
// each and the third matches nothing, which is the hardest for a walk over it.
func (b *bench) pagesOf(execution string) []page {
	from := pendingFrom.Add(-30 * 24 * time.Hour).Format(time.RFC3339)
	list := func(name string, pairs ...string) page {
		query := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			query.Set(pairs[i], pairs[i+1])
		}
		return page{name: name, path: "/executed_obs_units", query: query}
	}
	return []page{
		list("no filter"),
		list("status=running", "status", "running"),
		list("status=completed", "status", "completed"),
		list("status=failed", "status", "failed"),
		list("obs_unit_id", "obs_unit_id", fmt.Sprint(b.unit)),
		list("start_time_from", "start_time_from", from),
		list("end_time_from", "end_time_from", from),
		list("has_end_time", "has_end_time", "true"),
		list("pwv_mm_max", "pwv_mm_max", "1"),
		list("comment_contains", "comment_contains", "bench"),
		{name: "one execution's files", path: "/raw_data_files", query: url.Values{"executed_obs_unit_id": {execution}}},
	}
}

func (p page) request(token string) request {
	r := request{method: http.MethodGet, path: p.path, token: token, want: http.StatusOK}
	if len(p.query) > 0 {
		r.path += "?" + p.query.Encode()
	}
	return r
}

// pending is one amount of pending rows: a site that has them.
type pending struct {
	*site
	rows int
}

// measurePages measures P5 on 2,000,000 executions and as many files: sites with
// nothing, 1,000 and 100,000 pending executions (and files of one execution) are
// asked in turns, and one that has 1,000,000 pending files of other executions.
func measurePages(ctx context.Context, b *bench) (out []Measurement, err error) {
	rows := b.size(2_000_000, 2_000)
	few, many, elsewhere := b.size(1000, 100), b.size(100_000, 400), b.size(1_000_000, 200)
	defer func() { err = errors.Join(err, b.clear(context.WithoutCancel(ctx))) }()
	if err := b.loadExecutions(ctx, 0, rows); err != nil {
		return nil, err
	}
	if err := b.loadFiles(ctx, 0, rows); err != nil {
		return nil, err
	}
	var sites []*pending
	defer func() {
		for _, s := range sites {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	for _, n := range []int{0, few, many, few} {
		s, err := b.newSite(ctx)
		if err != nil {
			return nil, err
		}
		p := &pending{site: s, rows: n}
		sites = append(sites, p)
		if err := s.pause(ctx); err != nil {
			return nil, err
		}
		if err := b.step(fmt.Sprintf("a site with %s pending executions and files", thousands(int64(n))), func() error {
			return p.fillNight(ctx)
		}); err != nil {
			return nil, err
		}
	}
	if err := b.step(fmt.Sprintf("%s pending files elsewhere", thousands(int64(elsewhere))), func() error {
		return sites[3].fillFiles(ctx, elsewhere)
	}); err != nil {
		return nil, err
	}

	judged, err := b.judgePages(ctx, sites)
	if err != nil {
		return nil, err
	}
	if err := b.profilePages(ctx, sites[2]); err != nil {
		return nil, err
	}
	deep, err := b.deepPage(ctx, sites[2], rows)
	if err != nil {
		return nil, err
	}
	out = append(judged, deep)
	began := time.Now()
	if _, err := sites[2].serve(ctx, sites[2].lists); err != nil {
		return nil, err
	}
	cold := time.Since(began).Seconds()
	return append(out, measured("P5", fmt.Sprintf("cold start with %s pending, until a page is answered", thousands(int64(many))), "s", cold).atMost(cold, 8, "≤ 8 s")), nil
}

// judgePages asks for every page at every site in turns.
func (b *bench) judgePages(ctx context.Context, sites []*pending) ([]Measurement, error) {
	const none, few, many, elsewhere = 0, 1, 2, 3
	n := b.size(40, 5)
	type worst struct {
		what Measurement
		v    float64
	}
	var slower, perRow, grown, other worst
	keep := func(w *worst, v float64, m Measurement) {
		if v > w.v || w.what.ID == "" {
			*w = worst{m, v}
		}
	}
	var details []Measurement
	fewText, manyText := thousands(int64(sites[few].rows)), thousands(int64(sites[many].rows))
	for _, p := range b.pagesOf(executionID(0)) {
		var toNone, toFew, toFewElsewhere series
		var rowCost []float64
		travelling := 0
		for round := range b.Rounds + 1 {
			var took [4]float64
			for i, s := range sites {
				times, err := latencies(ctx, s.url, p.request(b.Service), n)
				if err != nil {
					return nil, fmt.Errorf("%s with %d pending rows: %w", p.name, s.rows, err)
				}
				took[i] = percentile(times, 0.5)
				if i == few && round == 0 {
					if travelling, err = s.pendingOn(ctx, p); err != nil {
						return nil, err
					}
				}
			}
			if round == 0 {
				continue
			}
			toNone.add(took[few], took[none])
			toFew.add(took[many], took[few])
			toFewElsewhere.add(took[elsewhere], took[few])
			if travelling > 0 {
				// One more row travels than a page shows: it tells whether another page follows.
				rowCost = append(rowCost, 1000*(took[few]-took[none])/float64(travelling+1))
			}
		}
		a := compared("P5", fmt.Sprintf("page of 50, %s: %s pending", p.name, fewText), "ms", "nothing pending", toNone)
		c := compared("P5", fmt.Sprintf("page of 50, %s: %s pending", p.name, manyText), "ms", fewText+" pending", toFew)
		e := compared("P5", fmt.Sprintf("page of 50, %s: files elsewhere", p.name), "ms", fewText+" pending", toFewElsewhere)
		details = append(details, a, c, e)
		keep(&slower, Median(toNone.ratios), a)
		keep(&grown, Median(toFew.ratios), c)
		keep(&other, Median(toFewElsewhere.ratios), e)
		if len(rowCost) > 0 {
			m := measured("P5", fmt.Sprintf("cost of a pending row that travels, %s", p.name), "µs", Median(rowCost))
			m.Rounds = len(rowCost)
			details = append(details, m)
			keep(&perRow, Median(rowCost), m)
		}
	}
	if perRow.what.ID == "" {
		return nil, errors.New("no page showed a pending row")
	}
	const dearest = "the dearest of all pages"
	return append([]Measurement{
		slower.what.atMost(slower.v, 3, "≤ 3×").noted(dearest),
		perRow.what.atMost(perRow.v, 20, "≤ 20 µs").noted(dearest),
		grown.what.atMost(grown.v, 1.2, "≤ 1.2×").noted(dearest),
		other.what.atMost(other.v, 1.2, "≤ 1.2×").noted(dearest),
	}, details...), nil
}

// profilePages asks once more for the page that no pending row matches, while profiles are
// taken.
func (b *bench) profilePages(ctx context.Context, s *pending) error {
	if b.Profiles == "" {
		return nil
	}
	for _, p := range b.pagesOf(executionID(0)) {
		if p.name != "status=failed" {
			continue
		}
		return b.profiled(ctx, "p5", s.url, func() error {
			_, err := latencies(ctx, s.url, p.request(b.Service), 10*b.size(40, 5))
			return err
		})
	}
	return errors.New("there is no page for status=failed")
}

// pendingOn counts the records of a page that have not replicated.
func (s *site) pendingOn(ctx context.Context, p page) (n int, err error) {
	var answer struct {
		Items []struct {
			Sync struct{ State string }
		}
	}
	if err := call(ctx, http.MethodGet, s.url+p.request("").path, s.Service, nil, &answer); err != nil {
		return 0, err
	}
	for _, item := range answer.Items {
		if item.Sync.State != "replicated" {
			n++
		}
	}
	return n, nil
}

// deepPage compares page 10,000 with page 1. The cursor is the one that the product
// gives to whoever follows the list; the pages before are asked for 500 rows at a
// time, which a cursor does not care about.
func (b *bench) deepPage(ctx context.Context, s *pending, rows int) (Measurement, error) {
	var deep series
	const step = 500
	depth := min(500_000, rows/2)
	query := url.Values{}
	err := b.step(fmt.Sprintf("following %d cursors", depth/step), func() error {
		for range depth / step {
			var answer struct {
				Next *string `json:"next_cursor"`
			}
			query.Set("limit", fmt.Sprint(step))
			if err := call(ctx, http.MethodGet, s.url+"/executed_obs_units?"+query.Encode(), s.Service, nil, &answer); err != nil {
				return err
			}
			if answer.Next == nil {
				return errors.New("the list ended early")
			}
			query.Set("cursor", *answer.Next)
		}
		return nil
	})
	if err != nil {
		return Measurement{}, err
	}
	n := b.size(40, 5)
	get := func(query url.Values) (float64, error) {
		took, err := latencies(ctx, s.url, page{path: "/executed_obs_units", query: query}.request(s.Service), n)
		return percentile(took, 0.5), err
	}
	var top float64
	err = b.inTurns(func(bool) (err error) {
		top, err = get(nil)
		return err
	}, func(warm bool) error {
		bottom, err := get(url.Values{"cursor": query["cursor"]})
		if err == nil && !warm {
			deep.add(bottom, top)
		}
		return err
	})
	return compared("P5", fmt.Sprintf("page %s of 50, no filter", thousands(int64(depth/50))), "ms", "page 1", deep).atMost(Median(deep.ratios), 1.5, "≤ 1.5×"), err
}

// fillNight buffers the site's executions, every second one finished, and as many
// files of one execution that the database has.
func (p *pending) fillNight(ctx context.Context) error {
	if p.rows == 0 {
		return nil
	}
	start, err := p.started(ctx)
	if err != nil {
		return err
	}
	finish, err := p.finished(ctx, start.was.row)
	if err != nil {
		return err
	}
	ids := make([]string, p.rows)
	for i := range ids {
		ids[i] = newID()
	}
	at := func(i int, m *mutable) { m.row, m.time = ids[i], pendingTime(i) }
	// The captured start is the first execution; what follows is another time, so that
	// a list shows running and finished ones mixed.
	pairs, singles := p.rows/2-1, p.rows-p.rows/2
	if err := copies(ctx, 2*pairs, func(i int, m *mutable) { at(2*i+1, m) }, start, finish); err != nil {
		return err
	}
	if err := copies(ctx, singles, func(i int, m *mutable) { at(2*i%p.rows, m) }, start); err != nil {
		return err
	}
	file, err := p.capture(ctx, http.MethodPost, "/raw_data_files", fileBody(executionID(0), p.module, "new/0.g3"), mutable{})
	if err != nil {
		return err
	}
	accepted, err := time.Parse(time.RFC3339Nano, file.was.accepted)
	if err != nil {
		return err
	}
	if err := copies(ctx, p.rows-1, func(i int, m *mutable) {
		m.row = newID()
		m.accepted = accepted.Add(time.Duration(i+1) * time.Microsecond).Format(time.RFC3339Nano)
	}, file); err != nil {
		return err
	}
	return p.shows(ctx, p.url, 2+2*pairs+singles+p.rows)
}

// fillFiles registers n files of executions that the database has, 10,000 in a
// request.
func (s *site) fillFiles(ctx context.Context, n int) error {
	const atOnce = 10_000
	for done := 0; done < n; done += atOnce {
		some := min(atOnce, n-done)
		body, err := bulkBody(executionID(1+done/atOnce), s.module, some)
		if err != nil {
			return err
		}
		if err := call(ctx, http.MethodPost, s.url+"/raw_data_files/bulk", s.Service, body, nil); err != nil {
			return err
		}
	}
	return nil
}

func fileBody(execution string, module int64, path string) map[string]any {
	return map[string]any{"executed_obs_unit_id": execution, "instrument_module_id": module, "name": "a.g3", "relative_path": path, "file_type": "g3",
		"size_bytes": 1_500_000_000, "checksum_algorithm": "xxh64", "checksum": "00112233aabbccdd"}
}

// bulkBody is a bulk registration of n files of an execution.
func bulkBody(execution string, module int64, n int) ([]byte, error) {
	files := make([]map[string]any, n)
	prefix := newID()
	for i := range files {
		files[i] = fileBody(execution, module, fmt.Sprintf("%s/%d.g3", prefix, i))
	}
	return json.Marshal(files)
}

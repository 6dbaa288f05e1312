package bench

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	var s series
	// A machine that is ten times slower in one round slows both: no ratio changes.
	for _, round := range [][2]float64{{2, 1}, {20, 10}, {3, 1}, {2, 1}} {
		s.add(round[0], round[1])
	}
	m := compared("P1", "x", "ms", "floor", s)
	if *m.Ratio != 2 || *m.Ours != 2.5 || *m.FloorValue != 1 || m.Rounds != 4 {
		t.Errorf("ratio %v of %v and %v in %d rounds, want 2 of 2.5 and 1 in 4", *m.Ratio, *m.Ours, *m.FloorValue, m.Rounds)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}, {[]float64{7}, 7}} {
		if got := Median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("nothing has a median")
	}
}

func TestPercentileIsADurationThatWasMeasured(t *testing.T) {
	var took []time.Duration
	for i := range 200 {
		took = append(took, time.Duration(200-i)*time.Millisecond)
	}
	for p, want := range map[float64]float64{0.5: 100, 0.99: 198, 1: 200, 0: 1} {
		if got := percentile(took, p); got != want {
			t.Errorf("percentile %v is %v ms, want %v", p, got, want)
		}
	}
}

func TestBarsAreJudged(t *testing.T) {
	under, over := measured("P1", "x", "ms", 1).atMost(1, 2, "≤ 2"), measured("P3", "x", "/s", 100).atLeast(100, 200, "≥ 200")
	if !*under.Met || *under.OfBar != 0.5 || *over.Met || *over.OfBar != 2 {
		t.Errorf("%v %v, %v %v", *under.Met, *under.OfBar, *over.Met, *over.OfBar)
	}
}

func TestWhatIsNotMeasuredIsNullAndNoZero(t *testing.T) {
	m, err := measureCached(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"ours":null`) || !strings.Contains(string(text), `"met":null`) {
		t.Errorf("%s", text)
	}
	if row := table(m); !strings.Contains(row, "not measured") || !strings.Contains(row, "not built yet") {
		t.Errorf("%s", row)
	}
}

func TestOnePartMeasuredAgainReplacesItsEarlierMeasurement(t *testing.T) {
	folder := t.TempDir()
	r, err := readReport(folder)
	if err != nil {
		t.Fatal(err)
	}
	r.merge(Part{ID: "P3", Measurements: []Measurement{measured("P3", "old", "s", 3).atMost(3, 8, "≤ 8 s")}})
	r.merge(Part{ID: "P1", Measurements: []Measurement{measured("P1", "kept", "s", 1)}})
	if err := r.write(folder); err != nil {
		t.Fatal(err)
	}
	if r, err = readReport(folder); err != nil {
		t.Fatal(err)
	}
	r.merge(Part{ID: "P3", Measurements: []Measurement{measured("P3", "new", "s", 4).atMost(4, 8, "≤ 8 s")}})
	if got := r.markdown(); len(r.Parts) != 2 || r.Parts[0].ID != "P1" || strings.Contains(got, "old") || !strings.Contains(got, "new") || !strings.Contains(got, "kept") {
		t.Errorf("%s", got)
	}
	wellFormed(t, barsChart(r))
}

func TestGrowthChartIsXML(t *testing.T) {
	g := &Growth{}
	for _, n := range []int{0, 1000, 1_000_000} {
		g.add("a < b & c", byBacklog, "ms", n, float64(n)/1000+0.5)
	}
	g.add("nothing at all", byTable, "ms", 0, 0)
	wellFormed(t, growthChart(g))
	if got := g.table(); !strings.Contains(got, "1,000,000") {
		t.Errorf("%s", got)
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestCopiesDifferWhereTheOriginalNamesItself(t *testing.T) {
	was := mutable{seq: "7", tx: "T1", row: "R1", key: "K1", time: "2026"}
	p := cutUp(`{"seq":7,"id":"T1","n":7,"row":"R1","again":"R1","at":"2026"}`, was, true)
	got := p.with(mutable{seq: "8", tx: "T2", row: "R2", key: "K2", time: "2027"})
	if want := `{"seq":8,"id":"T2","n":7,"row":"R2","again":"R2","at":"2027"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestClientReadsBothKindsOfBodies(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("Idempotency-Key"); key == keyMark || len(key) != len(keyMark) {
			http.Error(w, "every repetition has a key of its own", http.StatusTeapot)
			return
		}
		body := "short"
		if r.URL.Path == "/long" {
			body = long
		}
		if _, err := io.WriteString(w, body); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}))
	defer server.Close()
	w, err := dial(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/long": long, "/short": "short"} {
		took, err := w.repeat(t.Context(), server.URL, request{method: "GET", path: path, keyed: true, want: 200}, 3)
		if err != nil || len(took) != 3 || w.body.String() != want {
			t.Errorf("%s: %d answers, %d bytes, %v", path, len(took), w.body.Len(), err)
		}
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

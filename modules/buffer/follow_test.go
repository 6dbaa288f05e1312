package buffer

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// What has replicated is forgotten after HISTORY_RETENTION of a primary that answers:
// while the line is down main may have failed over to a standby without it.
func TestNothingExpiresWhileMainIsOutOfReach(t *testing.T) {
	t.Parallel()
	s := both(t)
	line, through := txntest.Line(t, s.ProcessorURL)
	s.ProcessorURL = through
	var ahead atomic.Int64
	m := make1(t, s, func(c *Config) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	start(t, m)
	var seqs []int64
	for _, body := range []string{"old", "newest"} {
		id := txntest.Note(t, s.Buffered, body, nil)
		row, _ := s.Store.Current().Row(pending.Key{Table: "note", ID: id})
		seqs = append(seqs, row.Newest.Seq)
	}
	drained(t, s, 30*time.Second)
	there := func() bool {
		tx, err := s.Store.Lookup(sandboxtest.Context(t), seqs[0])
		if err != nil {
			t.Fatal(err)
		}
		return tx != nil
	}
	m.expire(t.Context())
	if !there() {
		t.Fatal("it is forgotten before the retention is over")
	}
	txntest.Blackhole(t, line)
	sandboxtest.Eventually(t, 30*time.Second, "the processor to lose main", func() bool { return m.state.report().Status == statusReconnecting })
	ahead.Store(int64(2 * time.Hour))
	m.expire(t.Context())
	if !there() {
		t.Fatal("it is forgotten two hours later although nothing was heard of main")
	}
	txntest.Up(t, line)
	sandboxtest.Eventually(t, 30*time.Second, "it to be forgotten", func() bool {
		m.expire(t.Context())
		return !there()
	})
}

func TestAClockThatIsSetMakesNothingLookOld(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		heard  time.Time
		passed time.Duration
		want   time.Time // zero: nothing may be forgotten
	}{
		"right":                {noon.Add(70 * time.Minute), 70 * time.Minute, noon.Add(70 * time.Minute)},
		"set forward":          {noon.Add(5 * time.Hour), 70 * time.Minute, noon.Add(70 * time.Minute)},
		"set back":             {noon.Add(-2 * time.Hour), 70 * time.Minute, noon.Add(-2 * time.Hour)},
		"forward, and young":   {noon.Add(5 * time.Hour), 59 * time.Minute, time.Time{}},
		"main was never heard": {time.Time{}, 70 * time.Minute, time.Time{}},
	} {
		if got, ok := heardForSure(noon, c.heard, c.passed, time.Hour); ok != !c.want.IsZero() || ok && !got.Equal(c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, ok, c.want)
		}
	}
}

// The rates are of the site, whichever of its processes drains.
func TestRatesAreOfTheSite(t *testing.T) {
	t.Parallel()
	s := both(t)
	now := time.Now()
	m := make1(t, s, func(c *Config) { c.Clock = func() time.Time { return now } }) // drains nothing itself
	m.measure(t.Context())
	written(t, s.Buffered, "some", 9)
	now = now.Add(time.Second)
	m.measure(t.Context())
	if in, out := m.rates.read(); in < 0.9 || out != 0 {
		t.Errorf("%.2f in, %.2f out with 10 written", in, out)
	}
	store, reader, _ := s.Process(t)
	other, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	start(t, other)
	drained(t, s, 30*time.Second)
	now = now.Add(time.Second)
	m.measure(t.Context())
	if _, out := m.rates.read(); out < 0.9 {
		t.Errorf("%.2f out after another process has applied 10", out)
	}
}

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

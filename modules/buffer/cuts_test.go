package buffer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// cutting drains a buffer by hand, over a line that is cut at chosen bytes.
type cutting struct {
	*txntest.Sites
	m    *Module
	line *sandbox.Line

	want          map[uuid.UUID]string
	poisons       int
	cuts, unheard int   // flushes that a cut ended, and of those the ones whose commit had arrived unheard
	up, down      int64 // bytes of the newest whole exchange
}

func newCutting(t *testing.T) *cutting {
	t.Helper()
	c := &cutting{Sites: txntest.New(t), want: map[uuid.UUID]string{}}
	line, through := txntest.Line(t, c.ProcessorURL)
	c.line = line
	c.m = make1(t, c.Sites, func(c *Config) { c.PrimaryURL = through })
	return c
}

// write fills the buffer: a note, a poison, an edit of the note and an answer to it.
func (c *cutting) write(t *testing.T) {
	t.Helper()
	id := txntest.Note(t, c.Buffered, "note", nil)
	txntest.Note(t, c.Buffered, "poison", nil)
	txntest.EditNote(t, c.Buffered, txntest.Edit{ID: id, Body: "edited", Status: "open"})
	c.want[id] = "edited"
	c.want[txntest.Note(t, c.Buffered, "answer", &id)] = "answer"
	c.poisons++
}

// drain connects as the processor does and flushes until nothing is left, or the
// line is cut: n bytes after the handshake in one direction, 0 for never.
func (c *cutting) drain(t *testing.T, direction sandbox.Direction, n int64) error {
	t.Helper()
	ctx := sandboxtest.Context(t)
	p := c.m.processor
	s, l, err := p.open(ctx)
	if err != nil {
		t.Fatalf("connecting over a whole line: %v", err)
	}
	defer l.Close()
	// The predecessor's backend is gone by now: what it had applied is all there is.
	if counts := c.Store.Current().Counts(); n == 0 && c.ledger(t) > counts.Applied {
		c.unheard++
	}
	up, down := c.line.Passed(sandbox.Outbound), c.line.Passed(sandbox.Inbound)
	if n > 0 {
		c.line.CutAfter(direction, n)
	}
	for more := true; more; {
		step, err := p.flush(ctx, s, l)
		if err != nil {
			return err
		}
		more = step.more
	}
	c.up, c.down = c.line.Passed(sandbox.Outbound)-up, c.line.Passed(sandbox.Inbound)-down
	return nil
}

// cut fills the buffer, cuts its flush at one byte and drains what is left with
// other boundaries.
func (c *cutting) cut(t *testing.T, direction sandbox.Direction, n int64) {
	t.Helper()
	c.write(t)
	c.m.processor.limit.count = 4
	if err := c.drain(t, direction, n); err != nil {
		c.cuts++
		txntest.Up(t, c.line)
		c.m.processor.limit.count = 1 + int(n)%3
		if err := c.drain(t, direction, 0); err != nil {
			t.Fatalf("byte %d: over the mended line: %v", n, err)
		}
	}
	txntest.Up(t, c.line)
	counts := c.Store.Current().Counts()
	if counts.Buffered != 0 || counts.Failed != c.poisons || counts.Blocked != 0 {
		t.Fatalf("byte %d: the buffer has %+v, want nothing but %d poisons", n, counts, c.poisons)
	}
}

func (c *cutting) ledger(t *testing.T) int {
	t.Helper()
	var n int
	if err := c.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT count(*) FROM applied_transaction").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// check demands that main has each transaction once, and nothing else.
func (c *cutting) check(t *testing.T) {
	t.Helper()
	got := txntest.Bodies(t, c.PrimaryPool)
	if len(got) != len(c.want) {
		t.Errorf("main has %d notes, want %d", len(got), len(c.want))
	}
	for id, body := range c.want {
		if got[id] != body {
			t.Errorf("main has %q for %s, want %q", got[id], id, body)
		}
	}
	// The ledger's key is the id: twice is not possible there, but too many is.
	if n := c.ledger(t); n != 3*c.poisons {
		t.Errorf("the ledger has %d transactions, want %d", n, 3*c.poisons)
	}
}

// cutEvery is how many bytes lie between two cuts: 1 with `make cuts`, 0 is a
// dozen cuts in each direction.
func cutEvery(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("OPSDB_CUTS")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("OPSDB_CUTS=%s is no number of bytes", text)
	}
	return n
}

// TestFlushCutAtEveryByteAppliesOnce: the processor's flush, with a poison in it, is
// cut at every byte in both directions (with `make cuts`; at some of them with every
// `go test`), and the next attempt has other boundaries. Everything is applied once,
// in order, and the poison is the only dead letter.
func TestFlushCutAtEveryByteAppliesOnce(t *testing.T) {
	t.Parallel()
	every := cutEvery(t)
	first := newCutting(t)
	first.write(t)
	must(t, first.drain(t, sandbox.Outbound, 0))
	first.check(t)
	total, unheard := 0, 0
	cutAt := func(direction sandbox.Direction, from, to, step int64) {
		t.Run(fmt.Sprintf("direction %d from byte %d", direction, from), func(t *testing.T) {
			c := newCutting(t)
			for n := from; n <= to; n += step {
				c.cut(t, direction, n)
			}
			c.check(t)
			total += c.cuts
			unheard += c.unheard
		})
	}
	began := time.Now()
	for direction, most := range map[sandbox.Direction]int64{sandbox.Outbound: first.up, sandbox.Inbound: first.down} {
		step := every
		if step == 0 {
			step = most / 12
		}
		// A buffer with few dead letters: each cut leaves one.
		for from := 1 + rand.Int64N(step); from <= most; from += 200 * step {
			cutAt(direction, from, min(most, from+200*step-1), step)
		}
	}
	// A cut that main's backend notices before it commits shows nothing, and on a busy
	// machine all of two dozen may be such.
	for further := 0; unheard == 0 && further < 10; further++ {
		cutAt(sandbox.Inbound, 1+rand.Int64N(first.down/12), first.down, first.down/12)
	}
	t.Logf("a flush of %d bytes up and %d down was cut at %d bytes in %v; %d times it had been applied, and nobody here knew",
		first.up, first.down, total, time.Since(began).Round(time.Second), unheard)
	if total < 20 || unheard == 0 {
		t.Errorf("%d flushes were cut, %d applied unheard: the test has shown little", total, unheard)
	}
}

package buffer

import (
	"context"
	"sync"
	"time"
)

// rates are how fast the buffer fills and empties, smoothed over about a minute.
type rates struct {
	mu       sync.Mutex
	at       time.Time
	seq      int64
	done     int64
	in, out  float64 // transactions a second
	measured bool
}

// smoothing is the weight of one second in the rates.
const smoothing = 0.1

// measure is called once a second.
func (m *Module) measure(context.Context) {
	view := m.config.Store.Current()
	// By what every process of the site sees, whichever of them drains.
	c := view.Counts()
	done := view.LastSeq - int64(c.Buffered+c.Failed+c.Blocked)
	now := m.config.Clock()
	r := &m.rates
	r.mu.Lock()
	defer r.mu.Unlock()
	passed := now.Sub(r.at).Seconds()
	if r.measured && passed > 0 && view.LastSeq >= r.seq {
		r.in += smoothing * (float64(view.LastSeq-r.seq)/passed - r.in)
		r.out += smoothing * (float64(done-r.done)/passed - r.out)
	}
	r.at, r.seq, r.done, r.measured = now, view.LastSeq, done, true
}

func (r *rates) read() (in, out float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in, r.out
}

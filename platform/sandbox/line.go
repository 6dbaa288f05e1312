package sandbox

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Line is one proxied TCP line: what connects to its address reaches the
// target as if over a long distance.
type Line struct {
	name   string
	target string
	addr   string
	port   int

	mu       sync.Mutex
	state    LineState
	changed  chan struct{} // closed and replaced at every change of state
	listener net.Listener
	conns    map[*lineConn]struct{}
	budget   *budget
	gone     bool         // the target's host: nobody listens there
	free     [2]time.Time // per direction: when the bandwidth is free again
	passed   [2]int64
	closed   bool

	running sync.WaitGroup
}

// NewLine opens a line to target ("host:port") on a loopback port (0 picks a
// free one). It is up, without delay or limits.
func NewLine(name, target string, port int) (*Line, error) {
	if port == 0 {
		var err error
		if port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	l := &Line{
		name: name, target: target, port: port,
		addr:    fmt.Sprintf("127.0.0.1:%d", port),
		changed: make(chan struct{}),
		conns:   map[*lineConn]struct{}{},
	}
	up := true
	if err := l.apply(Change{Up: &up}, nil); err != nil {
		return nil, err
	}
	return l, nil
}

// Addr is where to connect to, "127.0.0.1:port"; it stays the same while the
// line goes down and up.
func (l *Line) Addr() string { return l.addr }

// Port is the port of Addr.
func (l *Line) Port() int { return l.port }

// State returns the line's switches as they are now.
func (l *Line) State() LineState {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := l.state
	if b := l.budget; b != nil && b.only == nil {
		b.mu.Lock()
		state.CutAfterBytes = b.remaining
		b.mu.Unlock()
	}
	return state
}

// Passed returns how many bytes have been delivered in a direction.
func (l *Line) Passed(dir Direction) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed[dir]
}

// Connections returns how many connections the line carries.
func (l *Line) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Apply changes this line alone.
func (l *Line) Apply(c Change) error {
	if err := c.check(); err != nil {
		return err
	}
	var own *budget
	if c.CutAfterBytes != nil && *c.CutAfterBytes > 0 {
		own = newBudget(*c.CutAfterBytes, []*Line{l})
	}
	return l.apply(c, own)
}

// CutAfter takes the line down after n more bytes have been delivered in one
// direction; the other direction is not counted.
func (l *Line) CutAfter(dir Direction, n int64) {
	b := newBudget(n, []*Line{l})
	b.only = &dir
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget = b
	l.wake()
}

// Reset ends the connections that are open now with a TCP reset; the line
// stays up for new ones.
func (l *Line) Reset() {
	for _, c := range l.open() {
		c.drop()
	}
}

// HalfOpen makes the connections that are open now vanish for the side at the
// given end only (Outbound: the primary's end, Inbound: the observatory's):
// that side sees a reset, the other keeps a connection that answers nothing.
// The returned function ends what is left of them.
func (l *Line) HalfOpen(end Direction) (drop func()) {
	conns := l.open()
	for _, c := range conns {
		c.hold(true)
		c.dropSide(end)
	}
	return func() {
		for _, c := range conns {
			c.drop()
		}
	}
}

// Hold keeps back what travels on the connections that are open now, in both
// directions, while new connections pass. The returned function lets it
// through, even when the sender has closed its end meanwhile.
func (l *Line) Hold() (release func()) {
	conns := l.open()
	for _, c := range conns {
		c.hold(true)
	}
	return func() {
		for _, c := range conns {
			c.hold(false)
		}
	}
}

// HostGone makes the far end a host that no longer exists, or one that is back:
// the line stays up, but who connects is refused at once, as by the network of
// a dead server. Only then does a client with several hosts in its URL go on to
// the next one; a connection that is accepted and then reset may end its search.
func (l *Line) HostGone(gone bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == gone {
		return nil
	}
	up := l.state.Up
	l.goDown()
	l.gone = gone
	var err error
	if up {
		err = l.goUp()
	}
	l.wake()
	return err
}

// Close drops every connection and ends the line.
func (l *Line) Close() {
	up := false
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	// Going down cannot fail.
	if err := l.apply(Change{Up: &up}, nil); err != nil {
		panic(err)
	}
	l.running.Wait()
}

func (l *Line) open() []*lineConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make([]*lineConn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}

func (l *Line) apply(c Change, shared *budget) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.RTTMillis != nil {
		l.state.RTTMillis = *c.RTTMillis
	}
	if c.BandwidthKbps != nil {
		l.state.BandwidthKbps = *c.BandwidthKbps
		l.free = [2]time.Time{}
	}
	if c.Blackhole != nil {
		l.state.Blackhole = *c.Blackhole
	}
	if c.CutAfterBytes != nil {
		l.budget = shared
	}
	var err error
	if c.Up != nil {
		if *c.Up && !l.state.Up && !l.closed {
			err = l.goUp()
		} else if !*c.Up {
			l.goDown()
		}
	}
	l.wake()
	return err
}

// wake tells everything that waits on the line to look at its state again.
func (l *Line) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// exhausted takes the line down because its byte budget is used up.
func (l *Line) exhausted(b *budget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.budget != b {
		return
	}
	l.budget = nil
	l.goDown()
	l.wake()
}

func (l *Line) goUp() error {
	if l.gone {
		l.state.Up = true
		return nil
	}
	listener, err := listenAgain(l.addr)
	if err != nil {
		return fmt.Errorf("taking the %s line up: %w", l.name, err)
	}
	l.listener = listener
	l.state.Up = true
	l.running.Add(1)
	go l.accept(listener)
	return nil
}

// listenAgain takes back a port that was released when the line went down. Its
// old connections are reset, so only a stranger can hold it, and briefly.
func listenAgain(addr string) (net.Listener, error) {
	var err error
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var listener net.Listener
		if listener, err = net.Listen("tcp", addr); err == nil {
			return listener, nil
		}
	}
	return nil, err
}

func (l *Line) goDown() {
	l.state.Up = false
	if l.listener != nil {
		// Nothing can be done about a listener that does not close.
		closeQuietly(l.listener)
		l.listener = nil
	}
	for c := range l.conns {
		c.drop()
	}
}

func (l *Line) accept(listener net.Listener) {
	defer l.running.Done()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		c := newLineConn(l, conn.(*net.TCPConn))
		l.mu.Lock()
		// A connection that was accepted while the line went down belongs to
		// the line that is gone.
		if l.listener != listener {
			l.mu.Unlock()
			c.drop()
			return
		}
		l.conns[c] = struct{}{}
		l.running.Add(1)
		l.mu.Unlock()
		go func() {
			defer l.running.Done()
			c.run()
			l.mu.Lock()
			delete(l.conns, c)
			l.mu.Unlock()
		}()
	}
}

// halfTrip is the time one direction takes.
func (s LineState) halfTrip() time.Duration {
	return time.Duration(s.RTTMillis * float64(time.Millisecond) / 2)
}

// look returns the state together with the channel that closes when it changes.
func (l *Line) look() (LineState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// reserve books the bandwidth for n bytes and returns when their last bit is
// through; the zero time when there is no limit.
func (l *Line) reserve(dir Direction, n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.BandwidthKbps == 0 {
		return time.Time{}
	}
	now := time.Now()
	if l.free[dir].Before(now) {
		l.free[dir] = now
	}
	seconds := float64(n) * 8 / (l.state.BandwidthKbps * 1000)
	l.free[dir] = l.free[dir].Add(time.Duration(seconds * float64(time.Second)))
	return l.free[dir]
}

// pieceSize is how much is read at once: little on a slow line, so that its
// bytes trickle instead of arriving by the block.
func (s LineState) pieceSize() int {
	const most = 32 << 10
	if s.BandwidthKbps == 0 {
		return most
	}
	perTick := int(s.BandwidthKbps * 1000 / 8 / 50)
	return max(256, min(most, perTick))
}

func (l *Line) count(dir Direction, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed[dir] += int64(n)
}

func (l *Line) currentBudget() (*budget, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.budget, l.changed
}

package sandbox

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// windowBytes is how much one direction of a connection may have under way
// before the proxy stops reading, as a TCP window would.
const windowBytes = 16 << 20

// lineConn is one connection through a line: two streams of pieces, each
// delivered when it is due.
type lineConn struct {
	line   *Line
	client *net.TCPConn
	opened time.Time

	mu     sync.Mutex
	server *net.TCPConn
	held   bool
	gone   bool
	change chan struct{} // closed and replaced when held changes
	done   chan struct{} // closed by drop
}

func newLineConn(line *Line, client *net.TCPConn) *lineConn {
	return &lineConn{
		line: line, client: client, opened: time.Now(),
		change: make(chan struct{}), done: make(chan struct{}),
	}
}

// drop ends both sides with a reset: whatever is under way is lost.
func (c *lineConn) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	close(c.done)
	reset(c.client)
	if c.server != nil {
		reset(c.server)
	}
}

// dropSide ends one side only.
func (c *lineConn) dropSide(end Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end == Inbound {
		reset(c.client)
	} else if c.server != nil {
		reset(c.server)
	}
}

func (c *lineConn) hold(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = on
	close(c.change)
	c.change = make(chan struct{})
}

func (c *lineConn) heldNow() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held, c.change
}

// run carries the connection until both directions have ended.
func (c *lineConn) run() {
	// The client's first bytes are read (and wait) while the connection is
	// still on its way to the target.
	out := newStream(c, Outbound)
	var reading sync.WaitGroup
	reading.Go(func() { out.read(c.client) })
	defer reading.Wait()
	defer c.drop()

	// A connection reaches the target after half a trip.
	if !c.waitDue(func(s LineState) time.Time { return c.opened.Add(s.halfTrip()) }) {
		return
	}
	conn, err := net.DialTimeout("tcp", c.line.target, 5*time.Second)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		reset(server)
		return
	}
	c.server = server
	c.mu.Unlock()

	in := newStream(c, Inbound)
	var both sync.WaitGroup
	both.Go(func() { in.read(server) })
	both.Go(func() { in.write(c.client) })
	both.Go(func() { out.write(server) })
	both.Wait()
}

// waitDue waits until the moment that due computes from the line's state has
// come and the line delivers; false when the connection is gone.
func (c *lineConn) waitDue(due func(LineState) time.Time) bool {
	for {
		state, changed := c.line.look()
		held, released := c.heldNow()
		var timer <-chan time.Time
		if !state.Blackhole && !held {
			wait := time.Until(due(state))
			if wait <= 0 {
				select {
				case <-c.done:
					return false
				default:
					return true
				}
			}
			timer = time.After(wait)
		}
		select {
		case <-c.done:
			return false
		case <-changed:
		case <-released:
		case <-timer:
		}
	}
}

// piece is some bytes under way, or the end of the stream.
type piece struct {
	bytes []byte
	sent  time.Time
	end   bool
	reset bool // the end is an abort, not a close
}

// stream is one direction of a connection. Its pieces wait in a queue with the
// time they were sent: sleeping for each piece instead would make a pipeline
// pay the delay once per piece.
type stream struct {
	conn *lineConn
	dir  Direction

	mu     sync.Mutex
	pieces []piece
	bytes  int
	ready  chan struct{} // a piece was added
	room   chan struct{} // a piece was taken
}

func newStream(c *lineConn, dir Direction) *stream {
	return &stream{conn: c, dir: dir, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func (s *stream) push(p piece) bool {
	for {
		s.mu.Lock()
		if s.bytes < windowBytes || p.end {
			s.pieces = append(s.pieces, p)
			s.bytes += len(p.bytes)
			s.mu.Unlock()
			signal(s.ready)
			return true
		}
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-s.conn.done:
			return false
		}
	}
}

func (s *stream) pop() (piece, bool) {
	for {
		s.mu.Lock()
		if len(s.pieces) > 0 {
			p := s.pieces[0]
			s.pieces[0] = piece{}
			s.pieces = s.pieces[1:]
			s.bytes -= len(p.bytes)
			s.mu.Unlock()
			signal(s.room)
			return p, true
		}
		s.mu.Unlock()
		select {
		case <-s.ready:
		case <-s.conn.done:
			return piece{}, false
		}
	}
}

// read queues what from sends, until it ends.
func (s *stream) read(from *net.TCPConn) {
	for {
		state, _ := s.conn.line.look()
		buffer := make([]byte, state.pieceSize())
		n, err := from.Read(buffer)
		sent := time.Now()
		if s.dir == Outbound {
			// Nothing is sent before the connection is made, which takes a
			// whole trip.
			if made := s.conn.opened.Add(2 * state.halfTrip()); sent.Before(made) {
				sent = made
			}
		}
		if n > 0 && !s.push(piece{bytes: buffer[:n], sent: sent}) {
			return
		}
		if err != nil {
			s.push(piece{end: true, reset: !errors.Is(err, io.EOF), sent: sent})
			return
		}
	}
}

// write delivers what is due, until the end of the stream.
func (s *stream) write(to *net.TCPConn) {
	for {
		p, ok := s.pop()
		if !ok || !s.conn.waitDue(func(l LineState) time.Time { return p.sent.Add(l.halfTrip()) }) {
			return
		}
		if p.end {
			if p.reset {
				s.conn.drop()
				return
			}
			// An error means that the other side is gone: nobody is left to tell.
			closeWriteQuietly(to)
			return
		}
		var through time.Time
		var rate float64
		if !s.conn.waitDue(func(l LineState) time.Time {
			// Booked again when the bandwidth changes, so that nobody waits
			// by the old one.
			if l.BandwidthKbps != rate {
				rate = l.BandwidthKbps
				through = s.conn.line.reserve(s.dir, len(p.bytes))
			}
			return through
		}) {
			return
		}
		if !s.deliver(to, p.bytes) {
			s.conn.drop()
			return
		}
	}
}

// deliver writes bytes as far as the line's budget allows.
func (s *stream) deliver(to *net.TCPConn, bytes []byte) bool {
	line := s.conn.line
	for {
		b, changed := line.currentBudget()
		if b == nil {
			n, err := to.Write(bytes)
			line.count(s.dir, n)
			return err == nil
		}
		granted, last := b.take(s.dir, len(bytes))
		if granted > 0 {
			n, err := to.Write(bytes[:granted])
			line.count(s.dir, n)
			b.delivered(last)
			return err == nil && granted == len(bytes)
		}
		// The line is about to go down, and these bytes are lost on the way;
		// unless somebody lifts the limit first.
		select {
		case <-s.conn.done:
			return false
		case <-changed:
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reset closes a connection at once, without delivering what the kernel holds.
func reset(conn *net.TCPConn) {
	if err := conn.SetLinger(0); err != nil {
		// Already closed; closing once more does no harm.
		closeQuietly(conn)
		return
	}
	closeQuietly(conn)
}

// closeQuietly closes what nobody can do anything about when it fails.
func closeQuietly(c io.Closer) {
	if err := c.Close(); err != nil {
		return
	}
}

func closeWriteQuietly(c *net.TCPConn) {
	if err := c.CloseWrite(); err != nil {
		return
	}
}

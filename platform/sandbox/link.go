package sandbox

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Direction names one way through a line.
type Direction int

// The two ways through a line: from the observatory to the primary and back.
const (
	Outbound Direction = iota
	Inbound
)

// Names of the two lines of a site's link.
const (
	// DatabaseLine carries the observatory's connections to the primary.
	DatabaseLine = "database"
	// ReplicationLine carries the replica's streaming connection.
	ReplicationLine = "replication"
)

// LineState is what can be switched on a line. Its JSON form is that of the
// link's control interface.
type LineState struct {
	// Up is whether the line exists: a line that is down has closed its
	// connections and refuses new ones.
	Up bool `json:"up"`
	// RTTMillis is the round trip time in milliseconds; half of it is added in
	// each direction, and a whole one to the making of a connection.
	RTTMillis float64 `json:"rtt_ms"`
	// Blackhole holds bytes and new connections without closing anything, and
	// delivers what it held once it is off again.
	Blackhole bool `json:"blackhole"`
	// BandwidthKbps limits each direction, in 1,000 bits a second; 0 is no limit.
	BandwidthKbps float64 `json:"bandwidth_kbps"`
	// CutAfterBytes is how many more bytes pass, over both directions in total,
	// before the line goes down; 0 is never.
	CutAfterBytes int64 `json:"cut_after_bytes"`
}

// Change says what to change on a line; fields that are nil stay as they are.
type Change struct {
	Up            *bool
	RTTMillis     *float64
	Blackhole     *bool
	BandwidthKbps *float64
	CutAfterBytes *int64
}

// check refuses values that no line can have.
func (c Change) check() error {
	const hour = 3_600_000
	var mistakes []error
	if c.RTTMillis != nil && (*c.RTTMillis < 0 || *c.RTTMillis > hour) {
		mistakes = append(mistakes, fmt.Errorf("rtt_ms must be between 0 and %d", hour))
	}
	if c.BandwidthKbps != nil && (*c.BandwidthKbps < 0 || *c.BandwidthKbps > 1e9) {
		mistakes = append(mistakes, errors.New("bandwidth_kbps must be between 0 (no limit) and 1e9"))
	}
	if c.CutAfterBytes != nil && *c.CutAfterBytes < 0 {
		mistakes = append(mistakes, errors.New("cut_after_bytes must not be negative"))
	}
	return errors.Join(mistakes...)
}

// Link is the simulated long line between the observatory and the main site:
// two proxied TCP lines whose delay and faults are switched together or apart.
//
// A main site with two servers has two of each, which are switched together:
// Database and Replication lead to the first server, Second to the other.
type Link struct {
	Database    *Line
	Replication *Line
	// Second are the lines to the main site's second server; nil without one.
	Second *SecondLines

	// mu makes a change of both lines one change.
	mu      sync.Mutex
	control *linkControl
}

// SecondLines are the link's lines to the main site's second server.
type SecondLines struct{ Database, Replication *Line }

// NewLink opens both lines to the primary at target ("host:port"), with the
// given round trip time, on the given loopback ports.
func NewLink(target string, rtt time.Duration, databasePort, replicationPort int) (*Link, error) {
	database, replication, err := newLines(target, databasePort, replicationPort)
	if err != nil {
		return nil, err
	}
	l := &Link{Database: database, Replication: replication}
	l.SetRTT(rtt)
	return l, nil
}

func newLines(target string, databasePort, replicationPort int) (database, replication *Line, err error) {
	if database, err = NewLine(DatabaseLine, target, databasePort); err != nil {
		return nil, nil, err
	}
	if replication, err = NewLine(ReplicationLine, target, replicationPort); err != nil {
		database.Close()
		return nil, nil, err
	}
	return database, replication, nil
}

// AddSecond opens the lines to the main site's second server, as they are to the
// first. It is called once, before anything uses the link.
func (l *Link) AddSecond(target string, databasePort, replicationPort int) error {
	database, replication, err := newLines(target, databasePort, replicationPort)
	if err != nil {
		return err
	}
	l.Second = &SecondLines{Database: database, Replication: replication}
	rtt := l.Database.State().RTTMillis
	return l.Apply(Change{RTTMillis: &rtt})
}

// lines are all lines of a name, or all there are when it is empty.
func (l *Link) lines(name string) []*Line {
	var found []*Line
	for _, line := range []*Line{l.Database, l.Replication} {
		if name == "" || line.name == name {
			found = append(found, line)
		}
	}
	if l.Second != nil {
		second := Link{Database: l.Second.Database, Replication: l.Second.Replication}
		found = append(found, second.lines(name)...)
	}
	return found
}

// Close drops every connection and ends both lines and the control interface.
func (l *Link) Close() {
	if l.control != nil {
		l.control.close()
	}
	for _, line := range l.lines("") {
		line.Close()
	}
}

// Up lets connections through again.
func (l *Link) Up() error {
	up := true
	return l.Apply(Change{Up: &up})
}

// Down closes every connection and refuses new ones until Up.
func (l *Link) Down() {
	up := false
	l.mustApply(Change{Up: &up})
}

// SetRTT sets the round trip time of both lines.
func (l *Link) SetRTT(rtt time.Duration) {
	ms := float64(rtt) / float64(time.Millisecond)
	l.mustApply(Change{RTTMillis: &ms})
}

// Blackhole holds (true) or releases (false) everything on both lines.
func (l *Link) Blackhole(on bool) {
	l.mustApply(Change{Blackhole: &on})
}

// mustApply applies a change that cannot fail: only coming up can, when
// another program has taken the port meanwhile.
func (l *Link) mustApply(c Change) {
	if err := l.Apply(c); err != nil {
		panic(fmt.Sprintf("sandbox: %v", err))
	}
}

// Apply changes the named lines (all when none is named) together. A byte
// budget is shared by the lines it is given to.
func (l *Link) Apply(c Change, lines ...string) error {
	if err := c.check(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	chosen := l.lines("")
	if len(lines) > 0 {
		chosen = chosen[:0]
		for _, name := range lines {
			named := l.lines(name)
			if name == "" || len(named) == 0 {
				return fmt.Errorf("unknown line %q: there are %q and %q", name, DatabaseLine, ReplicationLine)
			}
			chosen = append(chosen, named...)
		}
	}
	var shared *budget
	if c.CutAfterBytes != nil && *c.CutAfterBytes > 0 {
		shared = newBudget(*c.CutAfterBytes, chosen)
	}
	var failed []error
	for _, line := range chosen {
		failed = append(failed, line.apply(c, shared))
	}
	return errors.Join(failed...)
}

// budget counts down the bytes that may still pass before its lines go down.
type budget struct {
	mu        sync.Mutex
	cond      *sync.Cond
	remaining int64
	inFlight  int
	lines     []*Line
	// only restricts the count to one direction of a line; nil counts both.
	only *Direction
}

func newBudget(n int64, lines []*Line) *budget {
	b := &budget{remaining: n, lines: append([]*Line(nil), lines...)}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// take grants up to n bytes for delivery. What is not granted is lost with the
// line: last tells that the granted ones are the last.
func (b *budget) take(dir Direction, n int) (granted int, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.only != nil && *b.only != dir {
		b.inFlight++
		return n, false
	}
	if b.remaining == 0 {
		return 0, false
	}
	granted = int(min(int64(n), b.remaining))
	b.remaining -= int64(granted)
	b.inFlight++
	return granted, b.remaining == 0
}

// delivered reports that granted bytes are written. After the last ones it
// takes the lines down, but not before the bytes that others were granted
// earlier are written too: a cut is at exactly the n-th byte.
func (b *budget) delivered(last bool) {
	b.mu.Lock()
	b.inFlight--
	b.cond.Broadcast()
	if !last {
		b.mu.Unlock()
		return
	}
	timer := time.AfterFunc(time.Second, b.cond.Broadcast)
	for deadline := time.Now().Add(time.Second); b.inFlight > 0 && time.Now().Before(deadline); {
		b.cond.Wait()
	}
	timer.Stop()
	b.mu.Unlock()
	for _, line := range b.lines {
		line.exhausted(b)
	}
}

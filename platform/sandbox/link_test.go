package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// far is what listens at the other end of a line.
type far struct {
	net.Listener
	conns chan net.Conn
}

func listenFar(t *testing.T) *far {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &far{Listener: listener, conns: make(chan net.Conn, 100)}
	go func() {
		defer close(f.conns)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.conns <- conn
		}
	}()
	t.Cleanup(func() { closeQuietly(listener) })
	return f
}

// echo sends everything back.
func (f *far) echo() {
	go func() {
		for conn := range f.conns {
			go func() {
				defer closeQuietly(conn)
				if _, err := io.Copy(conn, conn); err != nil {
					return // The line was cut.
				}
			}()
		}
	}()
}

func newLine(t *testing.T, target string) *Line {
	t.Helper()
	line, err := NewLine(DatabaseLine, target, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	return line
}

func dial(t *testing.T, line *Line) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", line.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQuietly(conn) })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func change(t *testing.T, line *Line, c Change) {
	t.Helper()
	if err := line.Apply(c); err != nil {
		t.Fatal(err)
	}
}

func roundTrip(t *testing.T, conn net.Conn, message string) time.Duration {
	t.Helper()
	began := time.Now()
	send(t, conn, message)
	expect(t, conn, message)
	return time.Since(began)
}

func send(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	got := make([]byte, len(message))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != message {
		t.Fatalf("got %q, want %q", got, message)
	}
}

func ptr[T any](v T) *T { return &v }

func TestARoundTripTakesTheRoundTripTime(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	change(t, line, Change{RTTMillis: ptr(60.0)})
	began := time.Now() // before the connection, which the line begins to make at once
	conn := dial(t, line)
	roundTrip(t, conn, "a")
	if first := time.Since(began); first < 120*time.Millisecond {
		t.Errorf("making the connection and one round trip took %v, want at least 120ms", first)
	}
	if took := roundTrip(t, conn, "b"); took < 60*time.Millisecond {
		t.Errorf("a round trip took %v, want at least 60ms", took)
	}
}

// A proxy that slept for every piece would take 200 times half a round trip.
func TestManyMessagesUnderWayCostOneRoundTrip(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	change(t, line, Change{RTTMillis: ptr(100.0)})
	conn := dial(t, line)
	roundTrip(t, conn, "warm")
	began := time.Now()
	for range 200 {
		send(t, conn, "0123456789")
		// Apart, so that they are pieces of their own.
		<-time.After(100 * time.Microsecond)
	}
	expect(t, conn, strings.Repeat("0123456789", 200))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("200 messages took %v", took)
	}
}

func TestBandwidthLimitsEachDirection(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	change(t, line, Change{BandwidthKbps: ptr(400.0)})
	conn := dial(t, line)
	message := strings.Repeat("x", 10_000) // 0.2 s at 50 kB/s, both ways overlapping
	if took := roundTrip(t, conn, message); took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("10 kB at 400 kbit/s took %v", took)
	}
	change(t, line, Change{BandwidthKbps: ptr(1.0)})
	send(t, conn, strings.Repeat("y", 10_000)) // 80 s
	change(t, line, Change{BandwidthKbps: ptr(0.0)})
	expect(t, conn, strings.Repeat("y", 10_000))
}

func TestADownLineClosesRefusesAndComesBackAtItsPort(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	conn := dial(t, line)
	roundTrip(t, conn, "a")
	change(t, line, Change{Up: ptr(false)})
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection survived")
	}
	if _, err := net.Dial("tcp", line.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v, want refused", err)
	}
	change(t, line, Change{Up: ptr(true)})
	roundTrip(t, dial(t, line), "b")
}

func TestABlackHoleHoldsBytesAndConnectionsAndDeliversThem(t *testing.T) {
	f := listenFar(t)
	line := newLine(t, f.Addr().String())
	conn := dial(t, line)
	send(t, conn, "before")
	server := <-f.conns
	expect(t, server, "before")

	change(t, line, Change{Blackhole: ptr(true)})
	send(t, conn, "held")
	send(t, server, "answer")
	// The sender is gone before its bytes arrive.
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	late := dial(t, line)
	send(t, late, "late")
	if err := server.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 10)); err == nil {
		t.Fatalf("%d bytes came through", n)
	}
	if len(f.conns) > 0 {
		t.Fatal("a new connection came through")
	}

	change(t, line, Change{Blackhole: ptr(false)})
	if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	expect(t, server, "held")
	expect(t, conn, "answer")
	if rest, err := io.ReadAll(server); err != nil || len(rest) > 0 {
		t.Errorf("after the held bytes: %q, %v, want the end", rest, err)
	}
	expect(t, <-f.conns, "late")
}

func TestHeldConnectionsDeliverAfterNewerOnes(t *testing.T) {
	f := listenFar(t)
	line := newLine(t, f.Addr().String())
	old := dial(t, line)
	send(t, old, "x")
	oldServer := <-f.conns
	expect(t, oldServer, "x")
	release := line.Hold()
	send(t, old, "stale")
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	successor := dial(t, line)
	send(t, successor, "new")
	expect(t, <-f.conns, "new")
	release()
	expect(t, oldServer, "stale")
}

func TestACutIsAtTheByte(t *testing.T) {
	for _, n := range []int64{1, 7, 10, 4_000} {
		f := listenFar(t)
		line := newLine(t, f.Addr().String())
		conn := dial(t, line)
		send(t, conn, "x")
		server := <-f.conns
		expect(t, server, "x")
		change(t, line, Change{CutAfterBytes: ptr(n)})
		if got := line.State().CutAfterBytes; got != n {
			t.Errorf("%d bytes are left, want %d", got, n)
		}
		send(t, conn, strings.Repeat("y", int(n)+5))
		got, err := io.ReadAll(server)
		if int64(len(got)) != n {
			t.Errorf("%d bytes came through (then %v), want %d", len(got), err, n)
		}
		state := line.State()
		if state.Up || state.CutAfterBytes != 0 {
			t.Errorf("after the cut the state is %+v", state)
		}
	}
}

func TestACutCountsBothDirections(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	conn := dial(t, line)
	roundTrip(t, conn, "warm")
	change(t, line, Change{CutAfterBytes: ptr(int64(15))})
	roundTrip(t, conn, "12345")
	send(t, conn, "67890")
	if rest, err := io.ReadAll(conn); len(rest) > 0 {
		t.Errorf("got %q (%v) beyond the cut", rest, err)
	}
}

func TestACutInOneDirectionOnly(t *testing.T) {
	f := listenFar(t)
	f.echo()
	line := newLine(t, f.Addr().String())
	conn := dial(t, line)
	roundTrip(t, conn, "warm")
	line.CutAfter(Inbound, 3)
	send(t, conn, "0123456789")
	got, err := io.ReadAll(conn)
	if string(got) != "012" {
		t.Errorf("got %q, %v, want the first three bytes", got, err)
	}
	if line.State().Up {
		t.Error("the line is still up")
	}
}

func TestHalfOpenConnectionsAreSilentOnOneSide(t *testing.T) {
	f := listenFar(t)
	line := newLine(t, f.Addr().String())
	conn := dial(t, line)
	send(t, conn, "x")
	server := <-f.conns
	expect(t, server, "x")
	drop := line.HalfOpen(Inbound)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the observatory's side is still open")
	}
	if err := server.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := server.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the primary's side: %v, want silence", err)
	}
	drop()
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("dropped, it is still open")
	}
}

// control sends a request to a link's control interface.
func control(t *testing.T, link *Link, method, path, body string) (int, string, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, link.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(response.Body)
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&answer); err != nil {
		t.Fatalf("%s %s: %q: %v", method, path, content, err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), answer
}

func newLink(t *testing.T) *Link {
	t.Helper()
	link, err := NewLink("127.0.0.1:1", 250*time.Millisecond, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	if err := link.Serve(0); err != nil {
		t.Fatal(err)
	}
	return link
}

func TestPutChangesOnlyWhatItNamesAndAnswersEverything(t *testing.T) {
	link := newLink(t)
	state := map[string]any{"up": true, "rtt_ms": 250.0, "blackhole": false, "bandwidth_kbps": 0.0, "cut_after_bytes": 0.0}
	for _, step := range []struct {
		body    string
		changes map[string]any
	}{
		{`{}`, nil},
		{`{"rtt_ms": 10}`, map[string]any{"rtt_ms": 10.0}},
		{`{"blackhole": true, "bandwidth_kbps": 256}`, map[string]any{"blackhole": true, "bandwidth_kbps": 256.0}},
		{`{"cut_after_bytes": 5}`, map[string]any{"cut_after_bytes": 5.0}},
		{`{"up": false}`, map[string]any{"up": false}},
		{`{"up": true, "blackhole": false, "lines": ["database", "replication"]}`, map[string]any{"up": true, "blackhole": false}},
		{`{"cut_after_bytes": 0}`, map[string]any{"cut_after_bytes": 0.0}},
	} {
		for field, value := range step.changes {
			state[field] = value
		}
		status, _, got := control(t, link, http.MethodPut, "/link", step.body)
		if status != http.StatusOK {
			t.Errorf("%s: status %d", step.body, status)
		}
		if diff := cmp.Diff(state, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.body, diff)
		}
		if _, _, got := control(t, link, http.MethodGet, "/link", ""); !cmp.Equal(state, got) {
			t.Errorf("GET after %s: %v", step.body, cmp.Diff(state, got))
		}
	}
}

func TestLinesNarrowAChange(t *testing.T) {
	link := newLink(t)
	status, _, got := control(t, link, http.MethodPut, "/link", `{"up": false, "rtt_ms": 1, "lines": ["replication"]}`)
	if status != http.StatusOK || got["up"] != false || got["rtt_ms"] != 250.0 {
		t.Errorf("status %d, %v", status, got)
	}
	if !link.Database.State().Up || link.Replication.State().Up {
		t.Errorf("database %+v, replication %+v", link.Database.State(), link.Replication.State())
	}
}

func TestBadChangesAreRefusedAndChangeNothing(t *testing.T) {
	link := newLink(t)
	before := link.answer()
	for _, body := range []string{
		``, `[]`, `null`, `{"up": "yes"}`, `{"up": null}`, `{"rtt_ms": -1}`, `{"rtt_ms": "250"}`, `{"bandwidth_kbps": -1}`,
		`{"cut_after_bytes": -1}`, `{"cut_after_bytes": 1.5}`, `{"down": true}`, `{"up": false, "lines": []}`,
		`{"up": false, "lines": ["phone"]}`, `{"up": false} {}`,
	} {
		status, contentType, _ := control(t, link, http.MethodPut, "/link", body)
		if status < 400 || status > 499 || contentType != "application/problem+json" {
			t.Errorf("%s: status %d, %s", body, status, contentType)
		}
	}
	if status, _, _ := control(t, link, http.MethodPost, "/link", `{}`); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", status)
	}
	if status, _, _ := control(t, link, http.MethodGet, "/", ``); status != http.StatusNotFound {
		t.Errorf("GET /: status %d", status)
	}
	if diff := cmp.Diff(before, link.answer()); diff != "" {
		t.Error(diff)
	}
}

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// linkControl serves the link's switches over HTTP on loopback, without a
// credential: GET and PUT of /link.
type linkControl struct {
	server *http.Server
	url    string
	ended  chan struct{}
}

// Serve opens the link's control interface on a loopback port (0 picks a free
// one) until the link is closed.
func (l *Link) Serve(port int) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("opening the link's control interface: %w", err)
	}
	c := &linkControl{
		server: &http.Server{Handler: l.handler(), ReadHeaderTimeout: 5 * time.Second},
		url:    "http://" + listener.Addr().String(),
		ended:  make(chan struct{}),
	}
	l.control = c
	go func() {
		defer close(c.ended)
		// It returns when the server is closed, which is the end of the stack.
		if err := c.server.Serve(listener); err != nil {
			return
		}
	}()
	return nil
}

// URL is the base of the control interface, empty before Serve.
func (l *Link) URL() string {
	if l.control == nil {
		return ""
	}
	return l.control.url
}

func (c *linkControl) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.server.Shutdown(ctx); err != nil {
		closeQuietly(c.server)
	}
	<-c.ended
}

// linkAnswer is the whole state. Lines appears only while the two differ; the
// fields before it then say the worst of both.
type linkAnswer struct {
	LineState
	Lines map[string]LineState `json:"lines,omitempty"`
}

func (l *Link) answer() linkAnswer {
	database, replication := worst(l.lines(DatabaseLine)), worst(l.lines(ReplicationLine))
	if database == replication {
		return linkAnswer{LineState: database}
	}
	return linkAnswer{LineState: worst(l.lines("")), Lines: map[string]LineState{
		DatabaseLine: database, ReplicationLine: replication,
	}}
}

// worst is one state for several lines.
func worst(lines []*Line) LineState {
	all := lines[0].State()
	for _, line := range lines[1:] {
		one := line.State()
		all = LineState{
			Up:            all.Up && one.Up,
			RTTMillis:     max(all.RTTMillis, one.RTTMillis),
			Blackhole:     all.Blackhole || one.Blackhole,
			BandwidthKbps: tighter(all.BandwidthKbps, one.BandwidthKbps),
			CutAfterBytes: tighter(all.CutAfterBytes, one.CutAfterBytes),
		}
	}
	return all
}

// tighter is the smaller of two limits of which 0 is none.
func tighter[T int64 | float64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func (l *Link) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			writeJSON(w, http.StatusOK, "application/json", l.answer())
		case http.MethodPut:
			l.put(w, r)
		default:
			w.Header().Set("Allow", "GET, HEAD, PUT")
			refuse(w, http.StatusMethodNotAllowed, "method not allowed", "the link is read with GET and changed with PUT")
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "not found", "the link's state is at /link")
	})
	return mux
}

func (l *Link) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		refuse(w, http.StatusBadRequest, "unreadable body", err.Error())
		return
	}
	change, lines, err := parseChange(body)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid change", err.Error())
		return
	}
	if err := change.check(); err != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid change", err.Error())
		return
	}
	if err := l.Apply(change, lines...); err != nil {
		refuse(w, http.StatusInternalServerError, "not changed", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, "application/json", l.answer())
}

// parseChange reads {"up": …, "lines": […]}: only known fields, none null.
func parseChange(body []byte) (Change, []string, error) {
	var named map[string]json.RawMessage
	if err := json.Unmarshal(body, &named); err != nil || named == nil {
		return Change{}, nil, errors.New("the body must be a JSON object")
	}
	for name, value := range named {
		if bytes.Equal(value, []byte("null")) {
			return Change{}, nil, fmt.Errorf("%q must not be null; leave it out to keep it", name)
		}
	}
	var wire struct {
		Up            *bool    `json:"up"`
		RTTMillis     *float64 `json:"rtt_ms"`
		Blackhole     *bool    `json:"blackhole"`
		BandwidthKbps *float64 `json:"bandwidth_kbps"`
		CutAfterBytes *int64   `json:"cut_after_bytes"`
		Lines         []string `json:"lines"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wire); err != nil {
		return Change{}, nil, err
	}
	if _, given := named["lines"]; given && len(wire.Lines) == 0 {
		return Change{}, nil, fmt.Errorf("lines must name %q, %q or both; leave it out for both", DatabaseLine, ReplicationLine)
	}
	for _, line := range wire.Lines {
		if line != DatabaseLine && line != ReplicationLine {
			return Change{}, nil, fmt.Errorf("unknown line %q: there are %q and %q", line, DatabaseLine, ReplicationLine)
		}
	}
	change := Change{
		Up: wire.Up, RTTMillis: wire.RTTMillis, Blackhole: wire.Blackhole,
		BandwidthKbps: wire.BandwidthKbps, CutAfterBytes: wire.CutAfterBytes,
	}
	return change, wire.Lines, nil
}

// refuse answers with problem+json.
func refuse(w http.ResponseWriter, status int, title, detail string) {
	writeJSON(w, status, "application/problem+json", map[string]any{
		"type": "about:blank", "title": title, "status": status, "detail": detail,
	})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "encoding the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		return // The client is gone.
	}
}

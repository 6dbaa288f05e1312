package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/problem"
)

// Server is an http.Server whose own refusals, of requests that reach no handler,
// are problems as all others are. Use Serve: no other method makes them so.
type Server struct{ *http.Server }

// A client has to take writePiece bytes of an answer within writePatience, or its connection is closed: whoever does not
// read holds no handler and no memory for longer. It is for each piece and not for the answer, since some stream.
const (
	writePiece    = 64 << 10
	writePatience = 30 * time.Second
)

// NewServer returns an HTTP server with this package's limits on headers, idle
// connections and clients that do not read. Answers as a whole have no time limit here,
// since some stream: those of operations are limited one by one.
func NewServer(addr string, h http.Handler, logger *slog.Logger) *Server {
	return &Server{&http.Server{
		Addr: addr,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if c, ok := req.Context().Value(connKey{}).(*conn); ok {
				c.handled.Store(true)
			}
			h.ServeHTTP(w, req)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		// Idle is told once an answer is out as a whole, before the next request is read.
		ConnState: func(nc net.Conn, state http.ConnState) {
			if c, ok := nc.(*conn); ok && state == http.StateIdle {
				c.handled.Store(false)
			}
		},
	}}
}

// Serve implements http.Server.Serve.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, writePatience) }

func (s *Server) serve(l net.Listener, patience time.Duration) error {
	return s.Server.Serve(listener{l, patience})
}

type listener struct {
	net.Listener
	patience time.Duration
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: accepted, patience: l.patience}, nil
}

type connKey struct{}

// conn knows whether a handler has the request whose answer is being written. When
// none has, net/http refuses the request by itself: it writes a text that nothing can
// change to the connection, in one piece, and closes it. That text is exchanged here.
type conn struct {
	net.Conn
	patience time.Duration // with a client that does not read
	handled  atomic.Bool
	refused  bool // by the one goroutine that reads requests
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.handled.Load() {
		return c.send(b)
	}
	if c.refused {
		return len(b), nil // no more of what was exchanged
	}
	status, ok := refusal(b)
	if !ok {
		return c.send(b)
	}
	c.refused = true
	if _, err := c.send(refuse(status)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send writes b in pieces, each of which the client has to take in time.
func (c *conn) send(b []byte) (sent int, err error) {
	for err == nil && sent < len(b) {
		if err = c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			break
		}
		var n int
		n, err = c.Conn.Write(b[sent:min(sent+writePiece, len(b))])
		sent += n
	}
	return sent, err
}

// CloseWrite lets net/http end its answer before it closes a connection that still
// sends, so that the client reads the answer instead of a reset.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// refusal returns the status of an answer that is an error.
func refusal(b []byte) (status int, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte("HTTP/1."))
	if !ok || len(rest) < len("1 400") {
		return 0, false
	}
	status, err := strconv.Atoi(string(rest[2:5]))
	return status, err == nil && status >= 400
}

// refuse is the answer to a request that net/http refused with a status. Only what
// is too large is a case of its own: an unknown version, transfer coding or
// expectation is no fault of the server and nothing that trying again could help.
func refuse(status int) []byte {
	p := problem.Malformed.New("this is no request that HTTP/1.1 allows, or one with an expectation or a transfer coding that the server does not know")
	if status == http.StatusRequestHeaderFieldsTooLarge {
		p = problem.HeaderTooLarge.New("the request line and the headers have more than %d bytes together", maxHeaderBytes)
	}
	p = complete(&state{requestID: uuid.Must(uuid.NewV7()).String()}, p)
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte("{}") // texts and numbers always have a JSON form
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", p.Status, http.StatusText(p.Status))
	h := securityHeaders.Clone()
	h.Set("Content-Type", problem.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("X-Request-Id", p.RequestID)
	if err := h.Write(&out); err != nil {
		return nil // a buffer never fails
	}
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

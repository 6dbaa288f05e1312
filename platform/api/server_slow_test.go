package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/observe/observetest"
)

// TestClientThatDoesNotReadIsGivenUp asks for an answer that fits in no buffer of the
// system's, in one write and as a stream, and takes nothing of it.
func TestClientThatDoesNotReadIsGivenUp(t *testing.T) {
	t.Parallel()
	const patience = 200 * time.Millisecond
	piece := bytes.Repeat([]byte{'x'}, 1<<20)
	given := make(chan error, 2)
	addr := serveWith(t, patience, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		text := piece
		if req.URL.Path == "/whole" {
			text = bytes.Repeat(piece, 64)
		}
		for range 64 {
			if _, err := w.Write(text); err != nil {
				given <- err
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				given <- err
				return
			}
		}
		given <- errors.New("all of it was written")
	}))
	for _, path := range []string{"/whole", "/stream"} {
		client := dial(t, addr)
		if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-given:
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the handler still waits for a client that does not read", path)
		}
	}
}

// TestClientThatReadsSlowlyIsServed takes longer for an answer than the server waits for
// a piece of it.
func TestClientThatReadsSlowlyIsServed(t *testing.T) {
	t.Parallel()
	const patience = 500 * time.Millisecond
	const size = 64 << 20
	addr := serveWith(t, patience, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(bytes.Repeat([]byte{'x'}, size)) //nolint:errcheck // the reader tells
	}))
	client := dial(t, addr)
	if err := client.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	began, read := time.Now(), 0
	for buf := make([]byte, size/32); ; time.Sleep(patience / 10) {
		n, err := io.ReadFull(client, buf)
		read += n
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); read < size || took < 2*patience {
		t.Errorf("%d bytes in %s", read, took)
	}
}

// SlowBody is a body.
type SlowBody struct {
	Name string `json:"name"`
}

type slowInput struct{ Body SlowBody }

// TestBodyThatDoesNotComeIsNotWaitedFor: whatever becomes of the request, also when nobody reads its body.
func TestBodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r, err := New(Options{Logger: observetest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	r.bodyTimeout = 300 * time.Millisecond
	nothing := func(context.Context, *slowInput) (*struct{}, error) { return nil, nil }
	Register(r, Op{ID: "write-open", Method: http.MethodPost, Path: "/open", Summary: "x", Permission: Open, NoIdempotency: true}, nothing)
	Register(r, Op{ID: "write-closed", Method: http.MethodPost, Path: "/closed", Summary: "x", Permission: AnyUser, NoIdempotency: true}, nothing)
	Register(r, Op{ID: "read-open", Method: http.MethodGet, Path: "/open", Summary: "x", Permission: Open},
		func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	addr := serveWith(t, time.Minute, r.Handler())
	for request, want := range map[string]int{"POST /open": 400, "POST /closed": 401, "GET /open": 204, "POST /nowhere": 401, "PUT /open": 405} {
		for _, length := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			client := dial(t, addr)
			if _, err := io.WriteString(client, request+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+length+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := client.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Errorf("%s with %s: %v", request, length, err)
				continue
			}
			answer.Body.Close() //nolint:errcheck // not looked at
			if answer.StatusCode != want {
				t.Errorf("%s with %s: %d, want %d", request, length, answer.StatusCode, want)
			}
		}
	}
}

// serveWith serves h with a patience and returns the address.
func serveWith(t *testing.T, patience time.Duration, h http.Handler) *net.TCPAddr {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer("", h, observetest.Logger(t))
	done := make(chan error, 1)
	go func() { done <- server.serve(listener, patience) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().(*net.TCPAddr)
}

func dial(t *testing.T, addr *net.TCPAddr) *net.TCPConn {
	t.Helper()
	client, err := net.DialTCP("tcp", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // only read from
	return client
}

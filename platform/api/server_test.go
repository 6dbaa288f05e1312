package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/problem"
)

// listen serves h as the product does and returns its address.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewServer("", h, observetest.Logger(t))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// raw sends text as it is and returns the connection's answers.
func raw(t *testing.T, addr, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // only read from
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// TestWhatNetHTTPRefusesIsAProblem sends what no handler ever sees, first on a
// connection and after a request that was answered on it.
func TestWhatNetHTTPRefusesIsAProblem(t *testing.T) {
	t.Parallel()
	addr := listen(t, newProbe(t).handler)
	for name, c := range map[string]struct {
		request, code string
		status        int
	}{
		"path":              {"GET /% HTTP/1.1\r\nHost: x\r\n\r\n", "malformed", 400},
		"long path":         {"GET /" + strings.Repeat("a", 80<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "header-too-large", 431},
		"long header":       {"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", "header-too-large", 431},
		"header bytes":      {"GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x01\xff\r\n\r\n", "malformed", 400},
		"expect":            {"GET /status HTTP/1.1\r\nHost: x\r\nExpect: xxx\r\n\r\n", "malformed", 400},
		"transfer encoding": {"POST /lamps HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: foo\r\n\r\n", "malformed", 400},
		"version":           {"GET /status HTTP/9.9\r\nHost: x\r\n\r\n", "malformed", 400},
		"no host":           {"GET /status HTTP/1.1\r\n\r\n", "malformed", 400},
		"no HTTP":           {"hello\r\n\r\n", "malformed", 400},
	} {
		for before, count := range map[string]int{"": 0, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n": 1} {
			_, answers := raw(t, addr, before+c.request)
			for range count {
				answer, err := http.ReadResponse(answers, nil)
				if err != nil || answer.StatusCode != 200 {
					t.Fatalf("%s: the request before: %v %v", name, answer, err)
				}
				io.Copy(io.Discard, answer.Body) //nolint:errcheck // its length is known
				answer.Body.Close()              //nolint:errcheck // read
			}
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close() //nolint:errcheck // read
			var p problem.Problem
			if err != nil || json.Unmarshal(body, &p) != nil {
				t.Errorf("%s: %d %v %q", name, answer.StatusCode, err, body)
				continue
			}
			if answer.StatusCode != c.status || p.Status != c.status || p.Code() != c.code || p.Detail == "" || p.Errors == nil || !answer.Close ||
				answer.Header.Get("Content-Type") != problem.ContentType || p.RequestID == "" || p.RequestID != answer.Header.Get("X-Request-Id") {
				t.Errorf("%s: %d %v %s", name, answer.StatusCode, answer.Header, body)
			}
			if _, err := answers.ReadByte(); err == nil {
				t.Errorf("%s: more follows the answer", name)
			}
		}
	}
}

// TestAnswersOfHandlersPassAsTheyAre: even one that reads like a refusal of net/http,
// at the beginning of a write to the connection.
func TestAnswersOfHandlersPassAsTheyAre(t *testing.T) {
	t.Parallel()
	const text = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
	addr := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hijack" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, text) //nolint:errcheck // the reader tells
			conn.Close()               //nolint:errcheck // the reader tells
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(2*len(text)))
		for range 2 {
			io.WriteString(w, text)               //nolint:errcheck // the reader tells
			http.NewResponseController(w).Flush() //nolint:errcheck // the reader tells
		}
	}))
	_, answers := raw(t, addr, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != text+text {
		t.Errorf("%v %q", err, body)
	}
	_, answers = raw(t, addr, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	if body, err := io.ReadAll(answers); err != nil || string(body) != text {
		t.Errorf("hijacked: %v %q", err, body)
	}
}

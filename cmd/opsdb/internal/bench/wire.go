package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The client that measures writes a request that was put together before and reads
// no more of the answer than it must: on a machine that runs both ends, a
// comfortable client would be a large part of every figure, and flatter the slower
// server.

// request is what a measurement repeats.
type request struct {
	method, path, token, contentType string
	body                             []byte
	// keyed gives each repetition an Idempotency-Key of its own.
	keyed bool
	want  int // the status of a success
}

// keyMark is replaced by a key in the bytes of a request; keys have its length.
const keyMark = "bench-00000000-0000000000"

var keys atomic.Int64

func newKey() string { return fmt.Sprintf("bench-%08d-%010d", os.Getpid()%1e8, keys.Add(1)) }

// text is the request as it travels to a base URL.
func (r request) text(url string) []byte {
	host := strings.TrimPrefix(url, "http://")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, host)
	if r.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", r.token)
	}
	if r.keyed {
		fmt.Fprintf(&b, "Idempotency-Key: %s\r\n", keyMark)
	}
	if r.body != nil {
		contentType := r.contentType
		if contentType == "" {
			contentType = "application/json"
		}
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// wire is one kept-alive connection.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	body bytes.Buffer // of the last answer
}

// dial connects to a base URL, "http://host:port".
func dial(ctx context.Context, url string) (*wire, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (w *wire) close() error { return w.conn.Close() }

// exchange sends one request and reads its answer into w.body.
func (w *wire) exchange(text []byte) (status int, err error) {
	if _, err := w.conn.Write(text); err != nil {
		return 0, err
	}
	line, err := w.line()
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, fmt.Errorf("not a status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("not a status line: %q", line)
	}
	length, chunked := 0, false
	for {
		if line, err = w.line(); err != nil {
			return status, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return status, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	w.body.Reset()
	if !chunked {
		_, err = io.CopyN(&w.body, w.in, int64(length))
		return status, err
	}
	for {
		if line, err = w.line(); err != nil {
			return status, err
		}
		size, err := strconv.ParseInt(string(line), 16, 32)
		if err != nil {
			return status, fmt.Errorf("not the size of a chunk: %q", line)
		}
		if _, err := io.CopyN(&w.body, w.in, size); err != nil {
			return status, err
		}
		if _, err := w.line(); err != nil || size == 0 {
			return status, err
		}
	}
}

// line reads a line without its end; it is valid until the next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// repeat sends a request n times, one after the other, and returns how long each
// took.
func (w *wire) repeat(ctx context.Context, url string, r request, n int) ([]time.Duration, error) {
	text := r.text(url)
	at := bytes.Index(text, []byte(keyMark))
	took := make([]time.Duration, 0, n)
	for range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.keyed {
			copy(text[at:], newKey())
		}
		began := time.Now()
		status, err := w.exchange(text)
		took = append(took, time.Since(began))
		if err != nil {
			return nil, fmt.Errorf("%s %s%s: %w", r.method, url, r.path, err)
		}
		if status != r.want {
			return nil, fmt.Errorf("%s %s%s: %d %.300s", r.method, url, r.path, status, w.body.Bytes())
		}
	}
	return took, nil
}

// latencies sends a request n times over one connection.
func latencies(ctx context.Context, url string, r request, n int) (took []time.Duration, err error) {
	w, err := dial(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return w.repeat(ctx, url, r, n)
}

// throughput sends a request n times over connections at once and returns how many
// were answered in a second.
func throughput(ctx context.Context, url string, r request, connections, n int) (float64, error) {
	wires := make([]*wire, connections)
	for i := range wires {
		w, err := dial(ctx, url)
		if err != nil {
			return 0, err
		}
		wires[i] = w
	}
	began := time.Now()
	err := each(connections, connections, func(i int) error {
		_, err := wires[i].repeat(ctx, url, r, n/connections)
		return err
	})
	took := time.Since(began)
	for _, w := range wires {
		err = errors.Join(err, w.close())
	}
	return float64(n/connections*connections) / took.Seconds(), err
}

// each does n things, some at a time, and stops early after an error.
func each(n, atOnce int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range atOnce {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					next.Store(int64(n))
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failed
}

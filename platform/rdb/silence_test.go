package rdb

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

func TestSilentServerCostsOneCommandItsLimit(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // takes connections and never answers
	const limit = 200 * time.Millisecond
	c, err := Open(Options{Addr: l.Addr().String(), Timeout: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := c.FailFast(nil)
	// A caller that gives up earlier than the server's limit proves nothing.
	impatient, cancel := context.WithTimeout(t.Context(), limit/10)
	defer cancel()
	if err := c.Ping(impatient).Err(); err == nil || c.silence.silent.Load() {
		t.Errorf("after an impatient caller: %v, silent %v", err, c.silence.silent.Load())
	}
	began := time.Now()
	if err := c.Ping(t.Context()).Err(); !Unreachable(err) || errors.Is(err, ErrSilent) {
		t.Errorf("the first command: %v", err)
	}
	if took := time.Since(began); took < limit || took > 2*limit {
		t.Errorf("the first command took %v, not once the limit of %v", took, limit)
	}
	began = time.Now()
	for range 100 {
		if err := c.Ping(t.Context()).Err(); !errors.Is(err, ErrSilent) || !Unreachable(err) {
			t.Fatalf("a later command: %v", err)
		}
		if _, err := c.settings(t.Context()); !errors.Is(err, ErrSilent) {
			t.Fatalf("a later pipeline: %v", err)
		}
	}
	if took := time.Since(began); took > limit {
		t.Errorf("200 later commands took %v", took)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if c.silence.silent.Load() {
		t.Error("it is remembered after the end")
	}
}

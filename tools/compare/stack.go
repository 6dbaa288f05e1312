package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// stack is a running `opsdb demo`, with a table for the others beside the product's.
type stack struct {
	demo     *exec.Cmd
	ended    chan error
	dir      string
	lineHost string // the database line of the link
	primary  *pgx.Conn

	MainDBURL      string `json:"main_db_url"`
	RedisURL       string `json:"redis_url"`
	ObservatoryURL string `json:"observatory_url"`
	Admin          string `json:"admin_token"`
	Service        string `json:"service_token"`
}

// Where `opsdb demo --port-base` puts the link's database line.
const (
	stackPorts    = 8
	databaseLine  = 5
	siteQueue     = "site_queue" // the site's own database, for river
	queueDatabase = "/7"         // of Redis, for asynq and the loop
)

func startStack(ctx context.Context, opsdb string) (*stack, error) {
	dir, err := os.MkdirTemp("", "opsdb-compare-")
	if err != nil {
		return nil, err
	}
	base, err := freePorts()
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, ended: make(chan error, 1), lineHost: fmt.Sprintf("127.0.0.1:%d", base+databaseLine)}
	ready := filepath.Join(dir, "ready.json")
	s.demo = exec.Command(opsdb, "demo", "--no-night", "--ready-file", ready, "--port-base", fmt.Sprint(base))
	s.demo.Stdout, s.demo.Stderr = os.Stderr, os.Stderr
	// It gets its end from close, not from the terminal's interrupt.
	s.demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.demo.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.demo.Wait() }()
	if err := s.fill(ctx, ready); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stack) fill(ctx context.Context, ready string) error {
	if err := until(ctx, 3*time.Minute, func() (bool, error) {
		select {
		case err := <-s.ended:
			s.ended <- err
			return false, fmt.Errorf("the demo ended: %w", err)
		default:
		}
		text, err := os.ReadFile(ready)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, json.Unmarshal(text, s)
	}); err != nil {
		return err
	}
	var err error
	if s.primary, err = pgx.Connect(ctx, s.MainDBURL); err != nil {
		return err
	}
	for _, sql := range []string{
		`CREATE TABLE compared (id bigserial PRIMARY KEY, kind text NOT NULL, seq int NOT NULL, payload text NOT NULL)`,
		`CREATE DATABASE ` + siteQueue,
	} {
		if _, err := s.primary.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// throughLine is the primary as the site reaches it.
func (s *stack) throughLine() string {
	at, rest := strings.Index(s.MainDBURL, "@"), strings.LastIndex(s.MainDBURL, "/")
	return s.MainDBURL[:at+1] + s.lineHost + s.MainDBURL[rest:]
}

// siteDatabase is a database at the site. It lies in the primary's server, past the
// line: no second server is started for it.
func (s *stack) siteDatabase() string {
	at := strings.LastIndex(s.MainDBURL, "/")
	_, query, _ := strings.Cut(s.MainDBURL[at:], "?")
	return s.MainDBURL[:at] + "/" + siteQueue + "?" + query
}

func (s *stack) queueRedis() string {
	return s.RedisURL[:strings.LastIndex(s.RedisURL, "/")] + queueDatabase
}

func (s *stack) close() error {
	var err error
	if s.primary != nil {
		err = s.primary.Close(context.Background())
	}
	err = errors.Join(err, s.demo.Process.Signal(syscall.SIGTERM), <-s.ended)
	return errors.Join(err, os.RemoveAll(s.dir))
}

// freePorts finds the first of some free ports in a row, below those that systems give to
// outgoing connections and those that a sandbox takes.
func freePorts() (int, error) {
search:
	for base := 10000; base+stackPorts < 15000; base += stackPorts {
		for port := base; port < base+stackPorts; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue search
			}
			if err := l.Close(); err != nil {
				return 0, err
			}
		}
		return base, nil
	}
	return 0, errors.New("no eight free ports in a row")
}

// until asks again and again until done, an error, or the limit.
func until(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errTooLong
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

var errTooLong = errors.New("it took too long")

// post sends one request and fails unless it succeeds.
func post(ctx context.Context, url, token string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	answer, readErr := io.ReadAll(response.Body)
	if err := errors.Join(readErr, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode > 299 {
		return fmt.Errorf("POST %s: %d %.300s", url, response.StatusCode, answer)
	}
	return nil
}

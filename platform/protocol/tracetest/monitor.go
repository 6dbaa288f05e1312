// Package tracetest records what real servers do as traces that platform/protocol
// holds against its model: every script with its effects in the true order, by
// Redis's own MONITOR; every commit of the site at the primary, by triggers in the
// test's database; and the reads and marks that a test makes. The product knows
// nothing of it.
package tracetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// command is one line of MONITOR: what Redis has executed.
type command struct {
	db   string
	lua  bool // by a script
	args []string
}

// monitor is a connection on which Redis tells everything that it executes.
type monitor struct {
	conn net.Conn
	in   *bufio.Reader
}

// openMonitor begins to listen to the server of a redis:// URL.
func openMonitor(rawURL string) (*monitor, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	m := &monitor{conn: conn, in: bufio.NewReaderSize(conn, 1<<20)}
	requests := []string{"MONITOR"}
	if password, ok := u.User.Password(); ok {
		requests = []string{"AUTH " + password, "MONITOR"}
	}
	for _, r := range requests {
		if _, err := io.WriteString(conn, r+"\r\n"); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		answer, err := m.in.ReadString('\n')
		if err == nil && !strings.HasPrefix(answer, "+OK") {
			err = fmt.Errorf("asking for MONITOR: %q", answer)
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return m, nil
}

// next waits for the next command; io.EOF and the like when the server is gone.
func (m *monitor) next() (command, error) {
	line, err := m.in.ReadString('\n')
	if err != nil {
		return command{}, err
	}
	return parse(strings.TrimRight(line, "\r\n"))
}

// parse reads `+1700000000.123456 [3 127.0.0.1:4711] "GET" "key"`.
func parse(line string) (command, error) {
	_, rest, ok := strings.Cut(line, " [")
	if !ok {
		return command{}, fmt.Errorf("not a line of MONITOR: %q", line)
	}
	from, words, ok := strings.Cut(rest, "] ")
	if !ok {
		return command{}, fmt.Errorf("not a line of MONITOR: %q", line)
	}
	db, client, _ := strings.Cut(from, " ")
	c := command{db: db, lua: client == "lua"}
	for words != "" {
		word, err := strconv.QuotedPrefix(words)
		if err != nil {
			return c, fmt.Errorf("reading MONITOR: %q: %w", words, err)
		}
		text, err := strconv.Unquote(word)
		if err != nil {
			return c, fmt.Errorf("reading MONITOR: %q: %w", word, err)
		}
		c.args = append(c.args, text)
		words = strings.TrimPrefix(words[len(word):], " ")
	}
	return c, nil
}

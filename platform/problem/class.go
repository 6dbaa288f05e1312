package problem

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Class says what a failed statement means for whoever may try it again.
type Class int

const (
	// Fault is an error no retry mends and no transaction is to blame for: wrong
	// privileges, a missing table, a bug. The processor stops and says so.
	Fault Class = iota
	// Retry is a lost connection, a busy server or a concurrent change: the same
	// again may succeed, and it never counts against a transaction.
	Retry
	// Data is what the transaction itself caused; it becomes a dead letter.
	Data
)

// String returns the class as logs and metrics name it.
func (c Class) String() string {
	switch c {
	case Retry:
		return "retry"
	case Data:
		return "data"
	}
	return "fault"
}

// ClassOf sorts an error of the primary. Unknown errors are a Fault: stopping is
// safer than blaming a transaction or trying for ever.
func ClassOf(err error) Class {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return classOfState(pg.Code)
	}
	var p *Problem
	if errors.As(err, &p) {
		switch {
		case p.Status < 500:
			return Data
		case p.Status == 503 || p.Status == 504:
			return Retry
		}
		return Fault
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.As(err, &network),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, pgconn.ErrConnClosed), pgconn.SafeToRetry(err), pgconn.Timeout(err):
		return Retry
	}
	return Fault
}

func classOfState(code string) Class {
	switch {
	case code == "OP001", strings.HasPrefix(code, "22"), strings.HasPrefix(code, "23"):
		return Data
	case code == "40001", code == "40P01", code == "55P03", code == "57014",
		strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"):
		return Retry
	}
	return Fault
}

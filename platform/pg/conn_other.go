//go:build !linux

package pg

import "syscall"

// limitUnacknowledged does nothing here: TCP_USER_TIMEOUT is Linux's. Deadlines
// of the processor bound a flush all the same.
func limitUnacknowledged(string, string, syscall.RawConn) error { return nil }

package txn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// errUnread says that the snapshot of a builder cannot be read.
var errUnread = errors.New("the replica cannot be read")

// newID makes a UUIDv7. It can fail only when the system has no randomness,
// which Go's crypto/rand does not report but ends the program for.
func newID() uuid.UUID {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("making an id: %v", err))
	}
	return id
}

// newNow is the time as the database keeps it: UTC, microseconds. With more
// digits a buffered row and its applied one would differ.
func newNow(clock func() time.Time) time.Time {
	return clock().UTC().Truncate(time.Microsecond)
}

// NumberID names a row whose key is a number in a pending.Change: the number in the low
// half of an otherwise empty UUID. No UUID that is made anywhere looks like that, and
// the ledger writes it as the number that it is.
func NumberID(n int64) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// NumberOf is the number that NumberID has made an id of; false for any other id.
func NumberOf(id uuid.UUID) (int64, bool) {
	n := int64(binary.BigEndian.Uint64(id[8:]))
	return n, n > 0 && binary.BigEndian.Uint64(id[:8]) == 0
}

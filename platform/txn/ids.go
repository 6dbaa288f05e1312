package txn

import (
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

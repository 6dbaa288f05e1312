package lsn

import (
	"context"
	"fmt"

	"github.com/opsdb/opsdb/platform/lsn/internal/db"
)

// Standing is what a server surely shows: everything up to a position.
type Standing struct {
	Position
	// Exact is set when the timeline is the one that the server follows now. A
	// replica without a connection to its primary knows only one that it has come
	// to, and may have gone on to a later one.
	Exact bool
}

// StandingOf asks a server. What a snapshot that is taken afterwards over the same
// connection shows is at least that: the server cannot have gone back in between.
func StandingOf(ctx context.Context, conn db.DBTX) (Standing, error) {
	row, err := db.New(conn).GetStanding(ctx)
	if err != nil {
		return Standing{}, fmt.Errorf("asking a server what it shows: %w", err)
	}
	return standing(row.CertainLsn, row.Timeline, row.Exact)
}

func standing(text string, timeline int64, exact bool) (Standing, error) {
	at, err := Parse(text)
	if err != nil {
		return Standing{}, fmt.Errorf("asking a server what it shows: %w", err)
	}
	return Standing{Position: Position{Timeline: uint32(timeline), LSN: at}, Exact: exact}, nil
}

// Shows reports whether everything up to at is there. False is not yet, or not
// surely; an *OtherTimelineError is never.
func (s Standing) Shows(at Position) (bool, error) {
	switch {
	case at.Timeline == s.Timeline:
		return s.LSN >= at.LSN, nil
	case s.Exact || s.Timeline > at.Timeline:
		return false, &OtherTimelineError{Wanted: at, Timeline: s.Timeline}
	}
	return false, nil
}

// OtherTimelineError says that a position lies on another timeline than the one a
// server follows, so that the two cannot be compared.
type OtherTimelineError struct {
	Wanted   Position
	Timeline uint32
}

// Error implements error.
func (e *OtherTimelineError) Error() string {
	return fmt.Sprintf("%s is not on timeline %d, which the server follows", e.Wanted, e.Timeline)
}

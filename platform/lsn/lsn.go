// Package lsn says how far a server has come: positions in PostgreSQL's
// write-ahead log, and the tracker that watches a site's replica, wakes those
// who wait for it and reports which commits of the site it shows. It knows
// nothing of pending rows; who drops them is called back.
package lsn

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a place in the write-ahead log, in bytes from its beginning. Two of
// them compare as numbers only: as text "0/9" is greater than "0/10".
type LSN uint64

// Parse reads the form PostgreSQL prints, "16/B374D848": two hexadecimal
// numbers of at most eight digits each.
func Parse(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("reading LSN %q: it must look like 16/B374D848", s)
	}
	h, err := parseHex(high)
	if err != nil {
		return 0, fmt.Errorf("reading LSN %q: %w", s, err)
	}
	l, err := parseHex(low)
	if err != nil {
		return 0, fmt.Errorf("reading LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

// String is the form PostgreSQL prints.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint64(l)>>32, uint64(l)&0xFFFFFFFF)
}

// Sub is how many bytes l is ahead of other; 0 when it is not.
func (l LSN) Sub(other LSN) int64 {
	if l <= other {
		return 0
	}
	return int64(l - other)
}

// MarshalText writes the form PostgreSQL prints.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the form PostgreSQL prints.
func (l *LSN) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Position is an LSN together with the timeline it lies on. After a failover
// the same LSN means other contents, so clients are given both
// (`<timeline>:<X/Y>`, the header X-Commit-LSN).
type Position struct {
	Timeline uint32
	LSN      LSN
}

// ParsePosition reads `<timeline>:<X/Y>`; the timeline is decimal and at least 1.
func ParsePosition(s string) (Position, error) {
	timeline, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Position{}, fmt.Errorf("reading position %q: it must look like 1:16/B374D848", s)
	}
	if timeline == "" || strings.Trim(timeline, "0123456789") != "" {
		return Position{}, fmt.Errorf("reading position %q: the timeline must be a number", s)
	}
	t, err := strconv.ParseUint(timeline, 10, 32)
	if err != nil || t == 0 {
		return Position{}, fmt.Errorf("reading position %q: the timeline must be a number from 1 to 4294967295", s)
	}
	l, err := Parse(rest)
	if err != nil {
		return Position{}, fmt.Errorf("reading position %q: %w", s, err)
	}
	return Position{Timeline: uint32(t), LSN: l}, nil
}

// String is `<timeline>:<X/Y>`.
func (p Position) String() string {
	return strconv.FormatUint(uint64(p.Timeline), 10) + ":" + p.LSN.String()
}

// parseHex reads one half of an LSN. strconv alone would also take a sign and
// underscores.
func parseHex(s string) (uint64, error) {
	if s == "" || len(s) > 8 {
		return 0, fmt.Errorf("%q has not 1 to 8 hexadecimal digits", s)
	}
	for _, r := range s {
		if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return 0, fmt.Errorf("%q has a character that is no hexadecimal digit", s)
		}
	}
	return strconv.ParseUint(s, 16, 64)
}

package lsn

import (
	"errors"
	"testing"
)

func TestStandingShowsWhatItSurelyHas(t *testing.T) {
	at := func(timeline uint32, lsn LSN) Position { return Position{Timeline: timeline, LSN: lsn} }
	for _, c := range []struct {
		name   string
		server Standing
		wanted Position
		shows  bool
		never  bool
	}{
		{"behind", Standing{Position: at(1, 0x9), Exact: true}, at(1, 0x10), false, false},
		{"there", Standing{Position: at(1, 0x10), Exact: true}, at(1, 0x10), true, false},
		{"beyond, as a number and not as text", Standing{Position: at(1, 0x100000000), Exact: true}, at(1, 0xFFFFFFFF), true, false},
		{"beyond, though its text is smaller", Standing{Position: at(1, 0x10_00000000), Exact: true}, at(1, 0x9_00000000), true, false},
		{"on a later timeline", Standing{Position: at(2, 0x20)}, at(1, 0x10), false, true},
		{"surely on an earlier timeline", Standing{Position: at(1, 0x20), Exact: true}, at(2, 0x10), false, true},
		{"perhaps on an earlier timeline", Standing{Position: at(1, 0x20)}, at(2, 0x10), false, false},
	} {
		shows, err := c.server.Shows(c.wanted)
		var other *OtherTimelineError
		if shows != c.shows || errors.As(err, &other) != c.never {
			t.Errorf("%s: %t, %v", c.name, shows, err)
		}
	}
}

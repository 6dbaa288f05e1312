package txntest

import (
	"net/url"
	"testing"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// Line gives a test a line of its own to the server of rawURL, with switches for
// its faults, and the URL that leads through it.
func Line(t testing.TB, rawURL string) (*sandbox.Line, string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	line, err := sandbox.NewLine("test", u.Host, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	u.Host = line.Addr()
	return line, u.String()
}

// Up brings a line up again, without any limit.
func Up(t testing.TB, line *sandbox.Line) {
	t.Helper()
	up, off, none := true, false, int64(0)
	if err := line.Apply(sandbox.Change{Up: &up, Blackhole: &off, CutAfterBytes: &none}); err != nil {
		t.Fatal(err)
	}
}

// Blackhole makes a line hold everything without closing anything.
func Blackhole(t testing.TB, line *sandbox.Line) {
	t.Helper()
	on := true
	if err := line.Apply(sandbox.Change{Blackhole: &on}); err != nil {
		t.Fatal(err)
	}
}

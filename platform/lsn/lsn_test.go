package lsn_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/opsdb/opsdb/platform/lsn"
)

func TestParseIsTheInverseOfString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := lsn.LSN(rapid.Uint64().Draw(t, "lsn"))
		got, err := lsn.Parse(want.String())
		if err != nil {
			t.Fatalf("Parse(%s): %v", want, err)
		}
		if got != want {
			t.Fatalf("Parse(%s) = %s", want, got)
		}
		position := lsn.Position{Timeline: rapid.Uint32Min(1).Draw(t, "timeline"), LSN: want}
		back, err := lsn.ParsePosition(position.String())
		if err != nil {
			t.Fatalf("ParsePosition(%s): %v", position, err)
		}
		if back != position {
			t.Fatalf("ParsePosition(%s) = %s", position, back)
		}
	})
}

// Comparing the text instead of the number counts lost rows as present.
func TestOrderIsNumericNotTextual(t *testing.T) {
	pairs := [][2]string{{"0/9", "0/10"}, {"9/0", "10/0"}, {"0/FFFFFFFF", "1/0"}, {"A/1", "10/1"}}
	for _, p := range pairs {
		low, high := must(t, p[0]), must(t, p[1])
		if low >= high {
			t.Errorf("%s is not below %s", low, high)
		}
		if high.Sub(low) <= 0 || low.Sub(high) != 0 {
			t.Errorf("Sub of %s and %s: %d, %d", low, high, high.Sub(low), low.Sub(high))
		}
	}
}

func TestParseRefusesWhatPostgreSQLDoesNotPrint(t *testing.T) {
	for _, s := range []string{"", "/", "0", "0/", "/0", "0/0/0", "+1/0", "0/1_0", "0x1/0", "123456789/0", "0/123456789", " 0/0", "0/G"} {
		if got, err := lsn.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", s, got)
		}
	}
	for _, s := range []string{"", "1", "0:0/0", ":0/0", "+1:0/0", "4294967296:0/0", "1:", "1:0", "a:0/0", "1_0:0/0"} {
		if got, err := lsn.ParsePosition(s); err == nil {
			t.Errorf("ParsePosition(%q) = %s, want an error", s, got)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"1:0/0", "1:16/B374D848", "4294967295:FFFFFFFF/FFFFFFFF", "x", "1:0/g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := lsn.ParsePosition(s)
		if err != nil {
			return
		}
		again, err := lsn.ParsePosition(p.String())
		if err != nil || again != p {
			t.Fatalf("%q read as %s, which reads as %s, %v", s, p, again, err)
		}
	})
}

func must(t *testing.T, s string) lsn.LSN {
	t.Helper()
	l, err := lsn.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

package pending

import (
	"slices"
	"testing"
)

// TestKeptGoesByPlace: a correction comes in the place of the mistake, also when that is
// pages before its seq; what is decided while the pages are read stays what it was.
func TestKeptGoesByPlace(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	var want, mistakes []int64
	for range 3 * keptCount / 2 {
		want = append(want, accept(t, s, execution(newID())).Seq)
	}
	se := session(t, s)
	correct := func(seq int64, also ...int64) int64 {
		t.Helper()
		v := catchUp(t, s)
		target, _ := v.TxBySeq(seq)
		a := request(v, "", target.Changes...)
		a.Exempt, a.Transaction.Discards, a.Transaction.Place = true, append(also, seq), target.Place
		return discarding(t, s, a)
	}
	for _, i := range []int{5, 2, len(want) - 1} { // not in the order of their places
		seq := want[i]
		fail(t, se, seq)
		mistakes = append(mistakes, seq)
		corrected := correct(seq)
		if i == 2 { // corrected twice
			fail(t, se, corrected)
			mistakes = append(mistakes, corrected)
			corrected = correct(corrected, seq)
		}
		want[i] = corrected
	}
	fail(t, se, want[7])
	var got, dead []int64
	var decided int64
	err := EachKept(t.Context(), s.client, "observatory", changeDecoder{}, func(k Kept) error {
		if decided == 0 {
			fail(t, se, want[len(want)-2]) // in another page than the first
			decided = correct(want[len(want)-2])
		}
		switch {
		case k.Discarded:
			if !slices.Contains(mistakes, k.Seq) {
				t.Errorf("%d is discarded", k.Seq)
			}
			return nil
		case k.Dead:
			dead = append(dead, k.Seq)
		}
		got = append(got, k.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("they come as %v, want %v", got, want)
	}
	if want := []int64{want[7], want[len(want)-2]}; !slices.Equal(dead, want) {
		t.Errorf("dead letters are %v, want %v", dead, want)
	}
}

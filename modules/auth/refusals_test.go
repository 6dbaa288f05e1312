package auth

import (
	"fmt"
	"testing"
	"time"
)

// TestRefusalsOfManyAreBounded: with names that anybody may choose, a minute has so many events of a kind and no more, and
// what is remembered does not grow.
func TestRefusalsOfManyAreBounded(t *testing.T) {
	t.Parallel()
	var r refusals
	now, admitted := time.Unix(1e9, 0), 0
	for n := range 10_000 {
		if ok, _ := r.admit("login-refused", fmt.Sprint("name-", n/3), now); ok {
			admitted++
		}
	}
	if want := maxRefusedActors*3 + maxRefusals; admitted != want {
		t.Errorf("%d are recorded, want %d", admitted, want)
	}
	if len(r.recorded) != maxRefusedActors+1 {
		t.Errorf("%d actors are remembered", len(r.recorded))
	}
	if ok, left := r.admit("not-a-member", "edwin", now); !ok || left != 0 {
		t.Errorf("another kind: %t, %d", ok, left)
	}
	if ok, left := r.admit("login-refused", "edwin", now.Add(time.Minute)); !ok || left != 10_000-admitted {
		t.Errorf("a minute later: %t, %d left out before", ok, left)
	}
}

package pending

import (
	"bytes"
	"testing"
)

// TestTraceContextIsOptional: a transaction without one is stored as it always was,
// and one with it is read by what knows nothing of it.
func TestTraceContextIsOptional(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tx := request(View{}, "", execution(newID())).Transaction
	h, plain, err := encode(tx)
	must(t, err)
	if bytes.Contains(plain, []byte("trace")) {
		t.Errorf("a transaction that was not traced says so: %s", plain)
	}
	tx.Trace = parent
	_, traced, err := encode(tx)
	must(t, err)
	if more := len(traced) - len(plain); more > 80 {
		t.Errorf("the trace context takes %d bytes", more)
	}
	again, err := decode(7, h, traced)
	must(t, err)
	if again.Trace != parent || len(again.Steps) != len(tx.Steps) {
		t.Errorf("read as %q with %d steps", again.Trace, len(again.Steps))
	}
	for body, want := range map[string]string{
		string(plain): "", string(traced): parent, `"trace":7,"steps":[]`: "", `"steps":[],"trace":"late"`: "", `"trace`: "", "": "",
	} {
		if got := (&Tx{body: []byte(body)}).Trace(); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

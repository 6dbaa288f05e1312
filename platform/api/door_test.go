package api_test

import (
	"testing"

	"github.com/opsdb/opsdb/platform/api"
)

func TestCheckingABodyCopiesNoNames(t *testing.T) {
	body := []byte(`{"obs_unit_id": 1, "comment": "seen", "conditions": {"wind_ms": 3.5, "cloud": [1, 2, 3], "by": {"name": "ada"}}}`)
	// One object for the path and one for each JSON object, but none a name or value.
	if n := testing.AllocsPerRun(100, func() {
		if err := api.CheckJSON(body, func(location, message string) { t.Errorf("%s: %s", location, message) }); err != nil {
			t.Error(err)
		}
	}); n > 9 {
		t.Errorf("checking a body allocates %v objects", n)
	}
}

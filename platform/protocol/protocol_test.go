package protocol

import (
	"reflect"
	"testing"
	"time"
)

// The short run of every `go test`; make model goes further.
var short = Limits{States: 1500, Time: 2 * time.Second}

func scenario(t *testing.T, name string) *Scenario {
	t.Helper()
	s := Find(name)
	if s == nil {
		t.Fatalf("no scenario %q", name)
	}
	return s
}

func TestTheDesignHoldsInEveryScenario(t *testing.T) {
	t.Parallel()
	for _, s := range Scenarios {
		m := New(s, Faults{})
		result := m.Explore(short)
		if result.States < 500 && !result.Complete {
			t.Errorf("%s: only %d states seen", s.Name, result.States)
		}
		if v := result.Violation; v != nil {
			t.Errorf("%s:\n%s", s.Name, m.Story(v))
		}
	}
}

// The same walks in every run; make model takes new ones each time.
func TestTheDesignHoldsOnRandomWalks(t *testing.T) {
	t.Parallel()
	for i, s := range Walks {
		m := New(s, Faults{})
		result := m.Walk(150, 300*time.Millisecond, uint64(i))
		if result.States == 0 {
			t.Errorf("%s: nothing happened", s.Name)
		}
		if v := result.Violation; v != nil {
			t.Errorf("%s, seed %d:\n%s", s.Name, i, m.Story(v))
		}
	}
}

func TestEveryPlantedBugIsFound(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		if !p.Short {
			continue // make model
		}
		t.Run(p.Name, func(t *testing.T) {
			m := New(scenario(t, p.Scenario), p.Faults)
			result := m.Explore(Limits{States: 100_000, Time: time.Minute})
			if result.Violation == nil {
				t.Errorf("not found in %d states of %s", result.States, p.Scenario)
			}
		})
	}
}

// A rule that no plant takes out is one that the model may not need.
func TestEveryRuleIsTakenOutByAPlant(t *testing.T) {
	taken := map[string]bool{}
	for _, p := range Plants {
		scenario(t, p.Scenario)
		v := reflect.ValueOf(p.Faults)
		for i := range v.NumField() {
			if v.Field(i).Bool() {
				taken[v.Type().Field(i).Name] = true
			}
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Faults]()) {
		if !taken[f.Name] {
			t.Errorf("no plant has the fault %s", f.Name)
		}
	}
}

// What does not happen must leave the state alone: the search relies on it.
func TestAnActionThatDoesNotHappenChangesNothing(t *testing.T) {
	for _, s := range Walks {
		m := New(s, Faults{})
		state := m.start()
		for range 200 {
			moved := false
			for _, a := range m.offers {
				before := state
				happened, why := m.Do(&state, a)
				if why != "" {
					t.Fatalf("%s: %s", m.Describe(a), why)
				}
				if !happened && state != before {
					t.Fatalf("%s did not happen and changed the state", m.Describe(a))
				}
				moved = moved || happened
			}
			if !moved {
				break
			}
		}
	}
}

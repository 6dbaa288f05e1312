package protocol

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Limits end a search.
type Limits struct {
	States int
	Time   time.Duration
}

// Violation is a broken promise and how it came to that.
type Violation struct {
	Why   string
	Trace []Action
	// Resting: it shows when all processes have died afterwards, faults have ended
	// and everything has come to rest.
	Resting bool
}

// Result is what a search has found.
type Result struct {
	States, Depth int
	// Complete: every state within the scenario's bounds was seen.
	Complete  bool
	Took      time.Duration
	Violation *Violation
}

// Story tells a violation, one line per action.
func (m *Model) Story(v *Violation) string {
	var b strings.Builder
	for i, a := range v.Trace {
		fmt.Fprintf(&b, "  %3d. %s\n", i+1, m.Describe(a))
	}
	if v.Resting {
		b.WriteString("       then all processes die, faults end, and everything comes to rest\n")
	}
	fmt.Fprintf(&b, "   => %s\n", v.Why)
	return b.String()
}

// step does an action and checks what must hold afterwards.
func (m *Model) step(s *State, a Action) (happened bool, why string) {
	if happened, why = m.Do(s, a); happened && why == "" {
		why = m.always(s)
	}
	return happened, why
}

// comesToRest lets a copy of the state come to rest and checks what must hold then.
func (m *Model) comesToRest(s *State) string {
	end := *s
	if why := m.rest(&end); why != "" {
		return why
	}
	return m.atRest(&end)
}

// start is the state after the scenario's first actions.
func (m *Model) start() State {
	s := m.newState()
	for _, a := range m.scenario.First {
		if happened, why := m.step(&s, a); !happened || why != "" {
			panic(fmt.Sprintf("the first actions of %s: %s: %s", m.scenario.Name, m.Describe(a), why))
		}
	}
	return s
}

// Explore looks at every state that can be reached, breadth first, so that the
// first violation it meets is one of the shortest.
func (m *Model) Explore(limits Limits) (result Result) {
	began := time.Now()
	defer func() { result.Took = time.Since(began) }()
	seed := maphash.MakeSeed()
	first := m.start()
	// States are told apart by 64 bits of hash: among 10 million, two are mistaken
	// for one with a chance of one in 400,000.
	seen := map[uint64]struct{}{maphash.Comparable(seed, first): {}}
	type origin struct {
		before uint32
		action Action
	}
	origins := []origin{{}}
	var level frontier
	level.add(first, 0)
	trace := func(at uint32, last Action) []Action {
		out := []Action{last}
		for ; at != 0; at = origins[at].before {
			out = append(out, origins[at].action)
		}
		slices.Reverse(out)
		return out
	}
	for len(level) > 0 {
		var next frontier
		for here, at := range level.all() {
			if len(seen) > limits.States || time.Since(began) > limits.Time {
				result.States = len(seen)
				return result
			}
			s, fresh := *here, true
			for _, a := range m.offers {
				if !fresh {
					s = *here
				}
				happened, why := m.step(&s, a) // what does not happen changes nothing
				if fresh = !happened; fresh {
					continue
				}
				resting := false
				if why == "" {
					h := maphash.Comparable(seed, s)
					if _, known := seen[h]; known {
						continue
					}
					seen[h] = struct{}{}
					why = m.comesToRest(&s)
					resting = why != ""
				}
				if why != "" {
					result.States, result.Depth = len(seen), result.Depth+1
					result.Violation = &Violation{Why: why, Trace: trace(at, a), Resting: resting}
					return result
				}
				origins = append(origins, origin{at, a})
				next.add(s, uint32(len(origins)-1))
			}
		}
		result.Depth++
		level = next
	}
	result.States, result.Complete = len(seen), true
	return result
}

// frontier holds the states of one depth, in pieces: a slice of states this large
// would be moved each time it grows.
type frontier []*piece

type piece struct {
	n      int
	states [256]State
	at     [256]uint32
}

func (f *frontier) add(s State, at uint32) {
	if n := len(*f); n == 0 || (*f)[n-1].n == len((*f)[n-1].states) {
		*f = append(*f, &piece{})
	}
	last := (*f)[len(*f)-1]
	last.states[last.n], last.at[last.n] = s, at
	last.n++
}

// all goes through the states once, and lets go of them.
func (f frontier) all() func(yield func(s *State, at uint32) bool) {
	return func(yield func(s *State, at uint32) bool) {
		for i, p := range f {
			for k := range p.n {
				if !yield(&p.states[k], p.at[k]) {
					return
				}
			}
			f[i] = nil
		}
	}
}

// Walk makes random walks of at most the given length until time is up. States
// counts the actions, Depth the walks.
func (m *Model) Walk(length int, limit time.Duration, seed uint64) (result Result) {
	began := time.Now()
	defer func() { result.Took = time.Since(began) }()
	random := rand.New(rand.NewPCG(seed, 1))
	for time.Since(began) < limit {
		s := m.start()
		var trace []Action
		for len(trace) < length {
			a, happened, why := Action{}, false, ""
			for range 400 {
				a = m.offers[random.IntN(len(m.offers))]
				if happened, why = m.step(&s, a); happened {
					break
				}
			}
			if !happened {
				break
			}
			trace = append(trace, a)
			result.States++
			resting := false
			if why == "" && (len(trace)%8 == 0 || len(trace) == length) {
				why = m.comesToRest(&s)
				resting = why != ""
			}
			if why != "" {
				result.Violation = &Violation{Why: why, Trace: trace, Resting: resting}
				return result
			}
		}
		result.Depth++
	}
	return result
}

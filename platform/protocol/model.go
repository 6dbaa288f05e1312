package protocol

import "fmt"

// Model is the protocol within the bounds of one scenario, with the planted faults
// of one run; without any it is the design.
type Model struct {
	scenario  *Scenario
	faults    Faults
	attempts  uint8
	rows      int
	most      [faultKinds]uint8
	offers    []Action
	following bool // a recorded trace, instead of searching
	lossy     bool // Redis may be restarted, restored or emptied
	broken    string
}

// New makes the model of a scenario.
func New(scenario *Scenario, faults Faults) *Model {
	m := &Model{scenario: scenario, faults: faults, attempts: max(scenario.Attempts, 1)}
	for f, n := range scenario.Most {
		m.most[f] = n
	}
	m.lossy = m.most[RedisRestored]+m.most[RedisEmptied]+m.most[RedisRestarted] > 0
	for _, r := range scenario.Requests {
		for _, step := range r.Steps {
			m.rows = max(m.rows, int(step.Row)+1)
		}
	}
	for i := range maxRows {
		if scenario.Present>>i&1 == 1 {
			m.rows = max(m.rows, i+1)
		}
	}
	for kind := range actions {
		action := &actions[kind]
		if action.fault < faultKinds && m.most[action.fault] == 0 {
			continue
		}
		for _, a := range action.over(m) {
			a.Kind = Kind(kind)
			m.offers = append(m.offers, a)
		}
	}
	return m
}

// breaks records that a promise is broken; the first one counts.
func (m *Model) breaks(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf(format, args...)
	}
}

// Do performs one atomic action, if it can happen in this state. why names the
// promise that it breaks, empty for none.
func (m *Model) Do(s *State, a Action) (happened bool, why string) {
	m.broken = ""
	action := &actions[a.Kind]
	if action.redis && m.mustPutBack(s) {
		return false, "" // whoever speaks to another Redis puts everything back first
	}
	before := states(&s.Redis)
	if !action.do(m, s, a) {
		return false, ""
	}
	if action.redis && a.Kind != acceptScript && states(&s.Redis) != before {
		s.Redis.Change++ // one entry in `changes`
	}
	return true, m.broken
}

// states are what every process is told of through `changes`.
func states(r *Redis) [4]Set { return [4]Set{r.List, r.Dead, r.Replicated, r.Discarded} }

// Kind says what an action is; the table `actions` says what it does.
type Kind uint8

// Action is one atomic step of the world. What X and Y mean depends on its kind.
type Action struct {
	Kind Kind
	X, Y uint8
}

// action describes one kind.
type action struct {
	// words tell it in a trace: the design's words.
	words func(m *Model, a Action) string
	do    func(m *Model, s *State, a Action) bool
	// over lists what X and Y may be.
	over func(m *Model) []Action
	// redis: it speaks to Redis.
	redis bool
	// fault bounds how often; faultKinds for what is no fault.
	fault Fault
}

// Describe tells an action in the design's words.
func (m *Model) Describe(a Action) string { return actions[a.Kind].words(m, a) }

func (m *Model) name(x Tx) string {
	r := m.request(x)
	switch {
	case r == nil:
		return fmt.Sprintf("discard %d", x-firstCancel+1)
	case m.attempts == 1:
		return fmt.Sprintf("%q", r.Name)
	}
	return fmt.Sprintf("%q (attempt %d)", r.Name, x%m.attempts+1)
}

func (m *Model) writerName(w writer) string {
	x, ok := byTx(w)
	switch {
	case ok:
		return m.name(x)
	case w == null:
		return "NULL"
	case w == initial:
		return "its first value"
	}
	return fmt.Sprintf("direct write %d", w-direct+1)
}

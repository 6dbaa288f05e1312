// Command model explores the model of the protocol (platform/protocol): every
// scenario, the planted faults, and random walks. It exits with 1 when a promise is
// broken or a planted fault is not found.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/opsdb/opsdb/platform/protocol"
)

func main() {
	scenario := flag.String("scenario", "", "only this scenario (or walk)")
	plant := flag.String("plant", "", "only this planted fault, with its story")
	states := flag.Int("states", 250_000, "cut a scenario off after so many states")
	limit := flag.Duration("time", 15*time.Second, "and after so long")
	walk := flag.Duration("walk", 10*time.Second, "how long to walk through each of the larger scenarios")
	length := flag.Int("length", 150, "actions of a walk")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the walks")
	flag.Parse()
	limits := protocol.Limits{States: *states, Time: *limit}
	failed := false
	if *plant == "" {
		fmt.Printf("%-26s %10s %6s %8s\n", "scenario", "states", "depth", "seconds")
		for _, s := range protocol.Scenarios {
			if *scenario == "" || *scenario == s.Name {
				failed = search(s, limits) || failed
			}
		}
		fmt.Printf("\n%-26s %10s %6s %8s   seed %d\n", "random walks", "actions", "walks", "seconds", *seed)
		for _, s := range protocol.Walks {
			if *scenario == "" || *scenario == s.Name {
				failed = wander(s, *length, *walk, *seed) || failed
			}
		}
	}
	if *scenario == "" {
		fmt.Printf("\n%-72s %10s %6s %8s\n", "planted fault", "states", "depth", "seconds")
		for _, p := range protocol.Plants {
			if *plant == "" || *plant == p.Name {
				failed = hunt(p, *plant != "") || failed
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}

func search(s *protocol.Scenario, limits protocol.Limits) (failed bool) {
	m := protocol.New(s, protocol.Faults{})
	r := m.Explore(limits)
	end := "cut off"
	if r.Complete {
		end = "complete"
	}
	fmt.Printf("%-26s %10d %6d %8.1f   %s\n", s.Name, r.States, r.Depth, r.Took.Seconds(), end)
	return story(m, r)
}

func wander(s *protocol.Scenario, length int, limit time.Duration, seed uint64) (failed bool) {
	m := protocol.New(s, protocol.Faults{})
	r := m.Walk(length, limit, seed)
	fmt.Printf("%-26s %10d %6d %8.1f\n", s.Name, r.States, r.Depth, r.Took.Seconds())
	return story(m, r)
}

func story(m *protocol.Model, r protocol.Result) (broken bool) {
	if r.Violation == nil {
		return false
	}
	fmt.Print(m.Story(r.Violation))
	return true
}

func hunt(p protocol.Plant, tell bool) (failed bool) {
	m := protocol.New(protocol.Find(p.Scenario), p.Faults)
	r := m.Explore(protocol.Limits{States: 2_000_000, Time: 5 * time.Minute})
	verdict := "NOT FOUND in " + p.Scenario
	if r.Violation != nil {
		verdict = r.Violation.Why
	}
	fmt.Printf("%-72s %10d %6d %8.1f   %s\n", p.Name, r.States, r.Depth, r.Took.Seconds(), verdict)
	if tell {
		story(m, r)
	}
	return r.Violation == nil
}

package bench

import "context"

// measureCached stands for P9: there is nothing to measure before responses are
// cached (platform/cache).
func measureCached(context.Context, *bench) ([]Measurement, error) {
	return []Measurement{{ID: "P9", What: "cached reference read (hit)", Floor: "an empty handler plus one Redis GET", Bar: "≤ 1.2×; 304 without SQL",
		Note: "not built yet: nothing is cached"}}, nil
}

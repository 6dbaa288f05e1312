package bench

import (
	"math"
	"slices"
	"time"
)

// series collects the rounds of one figure. The ratio of a series is the median of
// the rounds' ratios, not the ratio of the medians: what slows a shared machine
// down for a while slows floor and product of the same round alike.
type series struct{ ours, floor, ratios []float64 }

func (s *series) add(ours, floor float64) {
	s.ours, s.floor, s.ratios = append(s.ours, ours), append(s.floor, floor), append(s.ratios, ours/floor)
}

// Median of values; NaN of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// percentile of durations, in milliseconds; p is between 0 and 1. It is a duration
// that was measured: the smallest that at least the share p does not exceed.
func percentile(took []time.Duration, p float64) float64 {
	if len(took) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(took))
	rank := max(1, int(math.Ceil(p*float64(len(sorted)))))
	return float64(sorted[rank-1].Nanoseconds()) / 1e6
}

// round keeps the four digits that a measured figure can have.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

package main

import (
	"testing"
	"time"
)

func TestOutOfOrderCountsWhatCameAfterALaterOne(t *testing.T) {
	for _, c := range []struct {
		seqs []int
		want int
	}{{nil, 0}, {[]int{0, 1, 2}, 0}, {[]int{0, 2, 1, 3}, 1}, {[]int{3, 0, 1, 2}, 3}, {[]int{0, 1, 1, 2}, 0}} {
		if got := outOfOrder(c.seqs); got != c.want {
			t.Errorf("%v: %d, want %d", c.seqs, got, c.want)
		}
	}
}

func TestMedianAndPercentile(t *testing.T) {
	if m := median([]float64{4, 1, 2, 3}); *m != 2.5 {
		t.Errorf("median %v", *m)
	}
	if m := median(nil); m != nil {
		t.Errorf("nothing has the median %v", *m)
	}
	if p := percentile([]time.Duration{3e6, 1e6, 2e6}, 0.5); p != 2 {
		t.Errorf("percentile %v", p)
	}
}

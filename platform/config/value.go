package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written like 4MiB, 100 GB or 4096. KB, MB, GB, TB are
// powers of 1000, KiB, MiB, GiB, TiB of 1024.
type Size int64

var units = []struct {
	name  string
	bytes float64
}{
	{"", 1}, {"B", 1},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(string(text[len(digits):]))
	for _, known := range units {
		if !strings.EqualFold(known.name, unit) {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || n < 0 || n*known.bytes >= math.MaxInt64 || strings.ContainsAny(digits, "xX_") {
			break
		}
		*s = Size(n * known.bytes)
		return nil
	}
	return errors.New("is no size like 4MiB or 100 GB")
}

// String returns the size as it can be written, in the largest unit without a rest.
func (s Size) String() string {
	best, factor := "B", 1.0
	for _, u := range units {
		if u.bytes > factor && float64(s) >= u.bytes && int64(s)%int64(u.bytes) == 0 {
			best, factor = u.name, u.bytes
		}
	}
	if best == "B" {
		return strconv.FormatInt(int64(s), 10)
	}
	return strconv.FormatInt(int64(s)/int64(factor), 10) + " " + best
}

// Rate is a number of requests a second, written like 2000/s, 600/m or 50.
type Rate float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	number, per, _ := strings.Cut(string(text), "/")
	seconds := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[strings.TrimSpace(per)]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || seconds == 0 || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return errors.New("is no rate like 2000/s")
	}
	*r = Rate(n / seconds)
	return nil
}

// String returns the rate as it can be written.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s" }

package tracetest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// shadow is what Redis holds of a site, from the effects of its scripts.
type shadow struct {
	list                              []int64 // as in Redis: newest first
	entries                           map[int64]uint8
	dead                              map[int64]int64 // blocked by, 0: failed itself
	applied                           map[int64]int64
	replicated, discarded             map[int64]bool
	seq, epoch, batch, swept, expired int64
	load                              string
	paused                            bool
}

func newShadow() *shadow {
	return &shadow{entries: map[int64]uint8{}, dead: map[int64]int64{}, applied: map[int64]int64{}, replicated: map[int64]bool{}, discarded: map[int64]bool{}}
}

func (s *shadow) clone() *shadow {
	c := *s
	c.list, c.entries, c.dead = slices.Clone(s.list), maps.Clone(s.entries), maps.Clone(s.dead)
	c.applied, c.replicated, c.discarded = maps.Clone(s.applied), maps.Clone(s.replicated), maps.Clone(s.discarded)
	return &c
}

// number reads a whole number, as scripts write them; what is none is a mistake of
// the recorder.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return n
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) {
		panic(fmt.Sprintf("not a number: %q", text))
	}
	return int64(f)
}

func lineSeq(line string) int64 {
	text, _, _ := strings.Cut(strings.TrimPrefix(line, `{"seq":`), ",")
	return number(text)
}

func idSeq(id string) int64 {
	text, _, _ := strings.Cut(id, "-")
	return number(text)
}

// do does what one command of a script does. added is called for a new transaction
// and says which it is.
func (s *shadow) do(prefix string, args []string, added func(seq int64, head, body string) uint8) {
	if len(args) < 2 || !strings.HasPrefix(args[1], prefix) {
		return
	}
	name, key, rest := strings.ToUpper(args[0]), strings.TrimPrefix(args[1], prefix), args[2:]
	switch key {
	case "transaction_buffer":
		s.toList(name, rest)
	case "transactions":
		switch name {
		case "XADD":
			seq := idSeq(rest[0])
			s.entries[seq] = added(seq, rest[2], rest[4])
		case "XDEL":
			delete(s.entries, idSeq(rest[0]))
		}
	case "dead_letters":
		switch name {
		case "HSET":
			by, _, _ := strings.Cut(rest[1], "|")
			s.dead[number(rest[0])] = number(by)
		case "HDEL":
			delete(s.dead, number(rest[0]))
		}
	case "applied":
		switch name {
		case "ZADD":
			s.applied[number(rest[1])] = number(rest[0])
		case "ZREM":
			delete(s.applied, number(rest[0]))
		}
	case "replicated":
		s.toSet(name, s.replicated, rest)
	case "discarded":
		s.toSet(name, s.discarded, rest)
	case "paused":
		switch name {
		case "SET":
			s.paused = true
		case "DEL":
			s.paused = false
		}
	case "load":
		if name == "SET" {
			s.load = rest[0]
		}
	case "seq":
		count(name, &s.seq, rest)
	case "epoch":
		count(name, &s.epoch, rest)
	case "batch":
		count(name, &s.batch, rest)
	case "swept":
		count(name, &s.swept, rest)
	case "expired":
		count(name, &s.expired, rest)
	}
}

func count(name string, n *int64, args []string) {
	switch name {
	case "INCR":
		*n++
	case "SET":
		*n = number(args[0])
	}
}

func (s *shadow) toSet(name string, set map[int64]bool, args []string) {
	switch name {
	case "ZADD":
		set[number(args[len(args)-1])] = true
	case "HSET", "HSETNX":
		set[number(args[0])] = true
	case "ZREM", "HDEL":
		delete(set, number(args[0]))
	}
}

func (s *shadow) toList(name string, args []string) {
	switch name {
	case "LPUSH":
		for _, line := range args {
			s.list = slices.Insert(s.list, 0, lineSeq(line))
		}
	case "RPUSH":
		for _, line := range args {
			s.list = append(s.list, lineSeq(line))
		}
	case "RPOP":
		n := 1
		if len(args) > 0 {
			n = int(number(args[0]))
		}
		s.list = s.list[:max(0, len(s.list)-n)]
	case "LREM": // a line is there once
		s.list = slices.DeleteFunc(s.list, func(seq int64) bool { return seq == lineSeq(args[1]) })
	case "LINSERT": // before the line of args[1]
		if at := slices.Index(s.list, lineSeq(args[1])); at >= 0 {
			s.list = slices.Insert(s.list, at, lineSeq(args[2]))
		}
	case "DEL":
		s.list = nil
	}
}

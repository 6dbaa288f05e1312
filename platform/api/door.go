package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest; PostgreSQL's own limit depends on its stack.
const maxDepth = 64

// CheckJSON tells whether PostgreSQL takes data as jsonb, which refuses some of what
// is valid JSON: \u0000, half of a surrogate pair, numbers beyond numeric. It also
// refuses members that occur twice, of which jsonb would keep the last. Each fault is
// told with its location, "" for the whole, .a.b[3] within. The error is for data
// that is no JSON at all or nests deeper than 64 levels.
func CheckJSON(data []byte, fault func(location, message string)) error {
	return checkJSON(data, func(location string, _ any, message string) {
		fault(strings.TrimPrefix(location, "body"), message)
	})
}

func checkJSON(data []byte, fault func(location string, value any, message string)) error {
	s := scanner{data: data, fault: fault, path: append(make([]byte, 0, 64), "body"...)}
	s.space()
	if err := s.value(0); err != nil {
		return err
	}
	s.space()
	if s.pos < len(s.data) {
		return fmt.Errorf("unexpected text after the value, at byte %d", s.pos)
	}
	return nil
}

// scanner goes through JSON once, without building anything.
type scanner struct {
	data  []byte
	pos   int
	path  []byte
	fault func(location string, value any, message string)
}

func (s *scanner) note(value any, message string) {
	s.fault(strings.ToValidUTF8(string(s.path), "\uFFFD"), value, message)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.data) {
		return fmt.Errorf("it ends where %s is expected", wanted)
	}
	return fmt.Errorf("%s is expected at byte %d", wanted, s.pos)
}

func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it nests deeper than %d levels", maxDepth)
	}
	if s.pos >= len(s.data) {
		return s.unexpected("a value")
	}
	switch c := s.data[s.pos]; {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, err := s.text(true)
		return err
	case c == '-' || (c >= '0' && c <= '9'):
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return nil
		}
	}
	return s.unexpected("a value")
}

func (s *scanner) array(depth int) error {
	s.pos++
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == ']' {
		s.pos++
		return nil
	}
	length := len(s.path)
	for i := 0; ; i++ {
		s.path = append(s.path, '[')
		s.path = strconv.AppendInt(s.path, int64(i), 10)
		s.path = append(s.path, ']')
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.path = s.path[:length]
		s.space()
		if s.pos >= len(s.data) {
			return s.unexpected("a comma or ]")
		}
		switch s.data[s.pos] {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected("a comma or ]")
		}
	}
}

func (s *scanner) object(depth int) error {
	s.pos++
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == '}' {
		s.pos++
		return nil
	}
	length := len(s.path)
	var few [8][]byte
	members := memberSet{few: few[:0]}
	for {
		s.space()
		if s.pos >= len(s.data) || s.data[s.pos] != '"' {
			return s.unexpected("a member's name")
		}
		name, err := s.text(false)
		if err != nil {
			return err
		}
		s.path = append(append(s.path, '.'), name...)
		if message := CheckText(string(name)); message != "" {
			s.note(nil, "the member's name "+message)
		}
		if !members.add(name) {
			s.note(nil, "the member occurs more than once")
		}
		s.space()
		if s.pos >= len(s.data) || s.data[s.pos] != ':' {
			return s.unexpected("a colon")
		}
		s.pos++
		s.space()
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.path = s.path[:length]
		s.space()
		if s.pos >= len(s.data) {
			return s.unexpected("a comma or }")
		}
		switch s.data[s.pos] {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected("a comma or }")
		}
	}
}

// memberSet finds doubles without a map while an object is small.
type memberSet struct {
	few  [][]byte
	many map[string]struct{}
}

func (m *memberSet) add(name []byte) bool {
	if m.many != nil {
		if _, double := m.many[string(name)]; double {
			return false
		}
		m.many[string(name)] = struct{}{}
		return true
	}
	for _, known := range m.few {
		if bytes.Equal(known, name) {
			return false
		}
	}
	if len(m.few) == cap(m.few) {
		m.many = make(map[string]struct{}, 4*len(m.few))
		for _, known := range m.few {
			m.many[string(known)] = struct{}{}
		}
		m.many[string(name)] = struct{}{}
		return true
	}
	m.few = append(m.few, name)
	return true
}

// text reads a string. A value's faults are noted here; a name is returned decoded
// and judged by the caller, when it is part of the path.
func (s *scanner) text(isValue bool) ([]byte, error) {
	begin := s.pos
	s.pos++
	escaped, surrogate, nul := false, false, false
	for {
		if s.pos >= len(s.data) {
			return nil, errors.New("a string does not end")
		}
		c := s.data[s.pos]
		switch {
		case c == '"':
			s.pos++
			raw := s.data[begin:s.pos]
			if isValue {
				switch {
				case !utf8.Valid(raw):
					s.note(nil, "is not valid UTF-8")
				case nul:
					s.note(string(raw[1:len(raw)-1]), `has a NUL character (\u0000)`)
				case surrogate:
					s.note(string(raw[1:len(raw)-1]), "has half of a surrogate pair")
				}
				return nil, nil
			}
			if surrogate {
				s.note(nil, "a member's name has half of a surrogate pair")
			}
			if !escaped {
				return raw[1 : len(raw)-1], nil
			}
			var name string
			if err := json.Unmarshal(raw, &name); err != nil {
				return nil, errors.New("a member's name cannot be read")
			}
			return []byte(name), nil
		case c < 0x20:
			return nil, fmt.Errorf("a string has a control character at byte %d", s.pos)
		case c != '\\':
			s.pos++
		default:
			escaped = true
			r, size, err := s.escape()
			if err != nil {
				return nil, err
			}
			s.pos += size
			switch {
			case r == 0:
				nul = true
			case r >= 0xD800 && r < 0xDC00:
				low, size, err := s.escape()
				if err == nil && low >= 0xDC00 && low < 0xE000 {
					s.pos += size
				} else {
					surrogate = true
				}
			case r >= 0xDC00 && r < 0xE000:
				surrogate = true
			}
		}
	}
}

// escape reads the escape sequence at pos, without moving on.
func (s *scanner) escape() (r rune, size int, err error) {
	rest := s.data[s.pos:]
	if len(rest) < 2 || rest[0] != '\\' {
		return 0, 0, errors.New("no escape sequence")
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return rune(rest[1]), 2, nil
	case 'u':
		if len(rest) >= 6 {
			if n, err := strconv.ParseUint(string(rest[2:6]), 16, 32); err == nil {
				return rune(n), 6, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("a wrong escape sequence at byte %d", s.pos)
}

// number reads a number and notes one that clients in most languages cannot read back, for it is beyond a double (RFC 8259,
// 6), or that numeric cannot hold: more than 16383 digits after the point (PostgreSQL, "Numeric Types").
func (s *scanner) number() error {
	begin := s.pos
	if s.data[s.pos] == '-' {
		s.pos++
	}
	whole := s.digits()
	if whole == 0 || (whole > 1 && s.data[s.pos-whole] == '0') {
		return fmt.Errorf("a number is malformed at byte %d", begin)
	}
	mantissa := s.pos - whole
	after := 0
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if after = s.digits(); after == 0 {
			return fmt.Errorf("a number is malformed at byte %d", begin)
		}
	}
	digits := s.data[mantissa:s.pos]
	exponent := 0
	if s.pos < len(s.data) && (s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.pos++
		sign := 1
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			if s.data[s.pos] == '-' {
				sign = -1
			}
			s.pos++
		}
		at := s.pos
		n := s.digits()
		if n == 0 {
			return fmt.Errorf("a number is malformed at byte %d", begin)
		}
		power := strings.TrimLeft(string(s.data[at:at+n]), "0")
		if len(power) > 9 {
			power = "999999999"
		}
		if power != "" {
			exponent, _ = strconv.Atoi(power) // digits only, at most nine
		}
		exponent *= sign
	}
	leading := 0
	for _, c := range digits {
		if c == '.' {
			continue
		}
		if c != '0' {
			break
		}
		leading++
	}
	zero := leading == whole+after
	tooLarge := false
	if !zero && whole-leading+exponent > 308 {
		_, err := strconv.ParseFloat(string(s.data[begin:s.pos]), 64)
		tooLarge = err != nil
	}
	if tooLarge || after-exponent > 16383 || exponent > 500_000_000 {
		s.note(string(s.data[begin:min(s.pos, begin+50)]), "the number is beyond what programs and the database can hold")
	}
	return nil
}

func (s *scanner) digits() int {
	n := 0
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}

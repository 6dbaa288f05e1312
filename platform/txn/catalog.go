package txn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

var kindPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+/[1-9][0-9]*$`)

// Catalog knows every kind of step: how it is read back from a buffer and which
// statement it runs. It is made once, when the server is wired, of one value of
// each step. It implements pending.Decoder.
type Catalog struct {
	kinds map[string]*kind
	names []string
}

// kind is one registered step type.
type kind struct {
	name     string
	typ      reflect.Type
	sql      string
	arity    int
	refusal  *problem.Kind
	sliceful bool
}

// NewCatalog registers one value of each step type; the zero value does. It is an
// error when two share a kind, when a kind is not `<resource>.<verb>/<version>`,
// or when Apply of the value does not run exactly one statement.
func NewCatalog(steps ...Step) (*Catalog, error) {
	c := &Catalog{kinds: make(map[string]*kind, len(steps))}
	var wrong []error
	for _, s := range steps {
		k, err := newKind(s)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if _, double := c.kinds[k.name]; double {
			wrong = append(wrong, fmt.Errorf("registering step %T: kind %q is registered already", s, k.name))
			continue
		}
		c.kinds[k.name] = k
		c.names = append(c.names, k.name)
	}
	slices.Sort(c.names)
	return c, errors.Join(wrong...)
}

func newKind(s Step) (*kind, error) {
	t := reflect.TypeOf(s)
	if t.Kind() == reflect.Pointer {
		return nil, fmt.Errorf("registering step %T: it must be a value, not a pointer", s)
	}
	name := s.Kind()
	if !kindPattern.MatchString(name) {
		return nil, fmt.Errorf("registering step %T: kind %q is not <resource>.<verb>/<version>", s, name)
	}
	call, err := record(context.Background(), s)
	if err != nil {
		return nil, fmt.Errorf("registering step %q: %w", name, err)
	}
	k := &kind{name: name, typ: t, sql: call.sql, arity: len(call.args)}
	if r, ok := s.(Refuser); ok {
		k.refusal = r.Refusal()
	}
	_, k.sliceful = s.(Slicer)
	return k, nil
}

// Kinds lists the registered kinds, sorted.
func (c *Catalog) Kinds() []string { return slices.Clone(c.names) }

// New returns the zero value of a kind; false when it is unknown.
func (c *Catalog) New(name string) (Step, bool) {
	k, ok := c.kinds[name]
	if !ok {
		return nil, false
	}
	return reflect.Zero(k.typ).Interface().(Step), true
}

// Encode is the stored form of a step. The step's kind must be registered:
// nothing may get into a buffer that does not come out of it again.
func (c *Catalog) Encode(s Step) (pending.Step, error) {
	k, ok := c.kinds[s.Kind()]
	if !ok {
		return pending.Step{}, fmt.Errorf("encoding step %q: %w", s.Kind(), pending.ErrUnknownKind)
	}
	if reflect.TypeOf(s) != k.typ {
		return pending.Step{}, fmt.Errorf("encoding step %q: %T is not the registered %v", k.name, s, k.typ)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return pending.Step{}, fmt.Errorf("encoding step %q: %w", k.name, err)
	}
	return pending.Step{Kind: k.name, Data: data}, nil
}

// Decode reads a stored step. A kind this program does not know is
// pending.ErrUnknownKind; a field it does not know is an error too, for dropping
// it would apply something else than was accepted.
func (c *Catalog) Decode(stored pending.Step) (Step, error) {
	k, ok := c.kinds[stored.Kind]
	if !ok {
		return nil, fmt.Errorf("decoding step %q: %w", stored.Kind, pending.ErrUnknownKind)
	}
	v := reflect.New(k.typ)
	d := json.NewDecoder(bytes.NewReader(stored.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Interface()); err != nil {
		return nil, fmt.Errorf("decoding step %q: %w", k.name, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decoding step %q: there is something after it", k.name)
	}
	return v.Elem().Interface().(Step), nil
}

// Changes implements pending.Decoder: what a stored step does to rows.
func (c *Catalog) Changes(kind string, data json.RawMessage) ([]pending.Change, error) {
	s, err := c.Decode(pending.Step{Kind: kind, Data: data})
	if err != nil {
		return nil, err
	}
	return s.Rows(), nil
}

// changesOf is what all steps of a stored transaction do to rows.
func (c *Catalog) changesOf(steps []pending.Step) ([]pending.Change, error) {
	var all []pending.Change
	for _, s := range steps {
		changes, err := c.Changes(s.Kind, s.Data)
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
	}
	return all, nil
}

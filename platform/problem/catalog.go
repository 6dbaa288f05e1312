package problem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// Constraint says what the violation of one named constraint means to a client:
// which problem, which field of the request, and why in a few words.
type Constraint struct {
	Kind    *Kind
	Field   string // location of the field at fault (body.obs_unit_id), or empty
	Message string // what is wrong, for the client; empty takes the kind's title
}

// Set is what one module declares: its problems, and the names of its tables'
// constraints. Modules export theirs as Problems in problems.go.
type Set struct {
	Kinds       []*Kind
	Constraints map[string]Constraint
}

// Catalog is all problems of the product; it is built once, when it is wired.
type Catalog struct {
	kinds       []*Kind
	byCode      map[string]*Kind
	constraints map[string]Constraint
}

var codePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// NewCatalog joins the sets of all modules with the common kinds. It reports every
// code or constraint that is declared twice, every kind without code, title,
// status or documentation, and every constraint whose kind is not declared.
func NewCatalog(sets ...Set) (*Catalog, error) {
	c := &Catalog{byCode: map[string]*Kind{}, constraints: map[string]Constraint{}}
	var faults []error
	all := append([]Set{Common}, sets...)
	for _, set := range all {
		for _, k := range set.Kinds {
			switch {
			case !codePattern.MatchString(k.Code):
				faults = append(faults, fmt.Errorf("problem %q: the code is not kebab-case", k.Code))
			case c.byCode[k.Code] != nil:
				faults = append(faults, fmt.Errorf("problem %s is declared twice", k.Code))
			case k.Title == "" || k.Doc == "" || k.Status < 400 || k.Status > 599:
				faults = append(faults, fmt.Errorf("problem %s lacks title, documentation or an error status", k.Code))
			default:
				c.byCode[k.Code] = k
				c.kinds = append(c.kinds, k)
			}
		}
	}
	for _, set := range all {
		for name, constraint := range set.Constraints {
			if _, double := c.constraints[name]; double {
				faults = append(faults, fmt.Errorf("constraint %s is mapped twice", name))
				continue
			}
			if constraint.Kind == nil || c.byCode[constraint.Kind.Code] != constraint.Kind {
				faults = append(faults, fmt.Errorf("constraint %s means a problem that is not declared", name))
				continue
			}
			c.constraints[name] = constraint
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("building the problem catalog: %w", errors.Join(faults...))
	}
	slices.SortFunc(c.kinds, func(a, b *Kind) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code))
	})
	return c, nil
}

// Kinds returns all problems, by status and code.
func (c *Catalog) Kinds() []*Kind { return slices.Clone(c.kinds) }

// Kind returns the problem with this code.
func (c *Catalog) Kind(code string) (*Kind, bool) {
	k, ok := c.byCode[code]
	return k, ok
}

// Constraints returns the names of all constraints that have a meaning, sorted:
// a test holds them against the schema.
func (c *Catalog) Constraints() []string {
	names := make([]string, 0, len(c.constraints))
	for name := range c.constraints {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// keyDetail finds the values of the violated key in PostgreSQL's detail text.
var keyDetail = regexp.MustCompile(`^Key \((?:.*?)\)=\((.*)\) `)

// FromPostgres returns what an error of the primary or the replica means to a
// client, and nil when err holds no error of the server. Texts of the server show
// only where the client's data is at fault, never with a 5xx.
func (c *Catalog) FromPostgres(err error) *Problem {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return nil
	}
	class := pg.Code
	if len(class) > 2 {
		class = class[:2]
	}
	switch {
	case class == "23":
		return c.violation(pg)
	case class == "22":
		return InvalidValue.New("the database refuses a value: %s", pg.Message)
	case pg.Code == "OP001":
		return StateConflict.New("a record is not in the state the change needs")
	case class == "40" || class == "53" || pg.Code == "55P03" || pg.Code == "57014":
		return DatabaseBusy.New("the database could not do it now")
	// 25006: a primary that has become a standby refuses writes.
	case class == "08" || class == "57" || pg.Code == "25006":
		return MainUnreachable.New("the database cannot be used now")
	}
	return Internal.New("the server made a mistake; its log has the details")
}

func (c *Catalog) violation(pg *pgconn.PgError) *Problem {
	constraint, known := c.constraints[pg.ConstraintName]
	if !known {
		if pg.Code == "23502" {
			return ConstraintViolated.Field("body."+pg.ColumnName, nil, "a value is required")
		}
		return ConstraintViolated.New("the constraint %s forbids it", pg.ConstraintName)
	}
	message := cmp.Or(constraint.Message, constraint.Kind.Title)
	if constraint.Field == "" {
		return constraint.Kind.New("%s", message)
	}
	var value any
	if found := keyDetail.FindStringSubmatch(pg.Detail); found != nil {
		value = found[1]
	}
	return constraint.Kind.Field(constraint.Field, value, "%s", message)
}

// From returns the problem that any error means: a Problem as it is, a bare Kind,
// an error of PostgreSQL, a deadline, and Internal for the rest, whose text never
// reaches a client. It returns nil for nil.
func (c *Catalog) From(err error) *Problem {
	if err == nil {
		return nil
	}
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var k *Kind
	if errors.As(err, &k) {
		return k.New("%s", k.Title)
	}
	if p := c.FromPostgres(err); p != nil {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return RequestTimeout.New("the request was not done in time")
	}
	if ClassOf(err) == Retry {
		return MainUnreachable.New("the database cannot be reached")
	}
	return Internal.New("the server made a mistake; its log has the details")
}

package txn

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/problem"
)

// refusals turns errors of the primary into problems.
type refusals struct{ catalog *problem.Catalog }

// refusal is the problem behind an error of the message at. A statement that
// changed no row although one was due means what its step says it means.
func (r refusals) refusal(e *encoded, at int, err error) *problem.Problem {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "OP001" && at >= 0 && at < len(e.steps) {
		if k := e.steps[at]; k != nil && k.refusal != nil {
			return k.refusal.New("what this site showed is no longer so at the primary")
		}
	}
	if p := r.catalog.FromPostgres(err); p != nil {
		return p
	}
	return r.catalog.From(err)
}

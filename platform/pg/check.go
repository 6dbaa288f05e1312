package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MinVersion is the oldest server version opsdb runs with, as server_version_num.
const MinVersion = 150000

// Names of the findings.
const (
	FindingReachable         = "reachable"
	FindingLogin             = "login"
	FindingServerVersion     = "server_version"
	FindingRole              = "role"
	FindingSynchronousCommit = "synchronous_commit"
	FindingDurability        = "durability"
	FindingSchema            = "schema"
	FindingPrivileges        = "privileges"
	FindingStatistics        = "statistics"
	FindingReplication       = "replication"
)

// Finding is one answer of a check.
type Finding struct {
	// Name is one of the Finding constants.
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail says what was found, and what to do where that is not right.
	Detail string `json:"detail"`
	// Fatal findings refuse a start. A server that cannot be reached or is still
	// starting is never fatal: it has not given a wrong answer.
	Fatal bool `json:"fatal"`
}

// Findings are the answers of one check.
type Findings []Finding

// Answered tells whether the server was asked at all; otherwise the check is to
// be repeated when it can be reached.
func (f Findings) Answered() bool {
	return !slices.ContainsFunc(f, func(x Finding) bool { return x.Name == FindingReachable && !x.OK })
}

// Err returns all fatal findings in one error, or nil.
func (f Findings) Err() error {
	var errs []error
	for _, x := range f {
		if !x.OK && x.Fatal {
			errs = append(errs, fmt.Errorf("%s: %s", x.Name, x.Detail))
		}
	}
	return errors.Join(errs...)
}

// Privilege is what the connecting role must be able to do with a table.
type Privilege struct {
	Table string
	// Verbs are SELECT, INSERT, UPDATE and DELETE, separated by commas; columns in
	// parentheses are not looked at: the right on any column satisfies.
	Verbs string
}

// Expectation is what a site needs of one of its servers.
type Expectation struct {
	// Primary says whether the server must accept writes (main) or be a replica.
	Primary bool
	// SchemaVersion is the newest migration this binary knows. An older schema is
	// fatal on a primary; a replica is behind and catches up. A newer one is fine.
	SchemaVersion int64
	// Privileges of the connecting role.
	Privileges []Privilege
}

// Querier is a pool or a connection.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check asks a server whether it is what its site needs. It never fails: what
// it could not ask is a finding too. A secondary uses it on its replica to
// decide its start, and on the remote primary only to report: main's state must
// not keep a site from observing.
func Check(ctx context.Context, db Querier, want Expectation) Findings {
	var version int
	var number string
	var inRecovery bool
	err := db.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`).
		Scan(&version, &number, &inRecovery)
	if err != nil {
		return Findings{noAnswer(err)}
	}
	found := Findings{
		{Name: FindingReachable, OK: true, Detail: "answers"},
		{Name: FindingServerVersion, OK: version >= MinVersion, Fatal: true, Detail: "PostgreSQL " + number + "; needs 15 or newer"},
		checkRole(inRecovery, want.Primary),
	}
	asks := []func(context.Context, Querier, Expectation) (Finding, error){checkSchema, checkPrivileges, checkStatistics, checkReplication}
	if want.Primary {
		asks = append(asks, checkSynchronousCommit, checkDurability)
	}
	for _, ask := range asks {
		finding, err := ask(ctx, db, want)
		if err != nil {
			// It went away in the middle: nothing of this may count as an answer.
			return Findings{noAnswer(err)}
		}
		found = append(found, finding)
	}
	return found
}

// CheckUntilAnswered repeats Check until the server has answered, at most a
// second apart, and returns that answer; ctx ends it with the last findings.
func CheckUntilAnswered(ctx context.Context, db Querier, want Expectation) (Findings, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 2*connectTimeout)
		found := Check(attempt, db, want)
		cancel()
		if found.Answered() {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// noAnswer tells a server that refuses us from one that cannot be asked now.
func noAnswer(err error) Finding {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		switch refusal.Code[:2] {
		case "08", "53", "57": // connection, no resources, starting or stopping
		case "28", "3D": // login, database
			return Finding{Name: FindingLogin, Fatal: true, Detail: refusal.Message}
		default:
			return Finding{Name: FindingPrivileges, Fatal: true, Detail: refusal.Message}
		}
	}
	return Finding{Name: FindingReachable, Detail: "does not answer now; checked again when it does: " + err.Error()}
}

func checkRole(inRecovery, primary bool) Finding {
	f := Finding{Name: FindingRole, OK: inRecovery != primary, Fatal: true, Detail: "is a primary"}
	if inRecovery {
		f.Detail = "is a replica"
	}
	if !f.OK && primary {
		f.Detail += "; this connection must lead to the primary (several hosts need target_session_attrs=read-write)"
	} else if !f.OK {
		f.Detail += "; LOCAL_DB_URL must lead to this site's replica"
	}
	return f
}

func checkSchema(ctx context.Context, db Querier, want Expectation) (Finding, error) {
	f := Finding{Name: FindingSchema, Fatal: want.Primary}
	var exists, readable bool
	err := db.QueryRow(ctx, `SELECT to_regclass('public.goose_db_version') IS NOT NULL,
		coalesce(has_table_privilege(to_regclass('public.goose_db_version'), 'SELECT'), false)`).Scan(&exists, &readable)
	if err != nil {
		return f, err
	}
	if exists && !readable {
		f.Detail = "goose_db_version cannot be read: run the output of opsdb migrate grants as a superuser"
		return f, nil
	}
	var version int64
	if exists {
		// goose writes a row a step, up or down: the newest row of a version counts.
		err := db.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM (
			SELECT DISTINCT ON (version_id) version_id, is_applied FROM public.goose_db_version ORDER BY version_id, id DESC
		) v WHERE is_applied`).Scan(&version)
		if err != nil {
			return f, err
		}
	}
	f.OK = version >= want.SchemaVersion
	f.Detail = fmt.Sprintf("schema is at version %d", version)
	if !f.OK && want.Primary {
		f.Detail += fmt.Sprintf("; this binary needs %d: run opsdb migrate up", want.SchemaVersion)
	} else if !f.OK {
		f.Detail += fmt.Sprintf("; this binary needs %d: the replica has not replayed the migration, or main has not run it", want.SchemaVersion)
	}
	return f, nil
}

func checkPrivileges(ctx context.Context, db Querier, want Expectation) (Finding, error) {
	f := Finding{Name: FindingPrivileges, Fatal: true}
	var tables, verbs []string
	for _, p := range want.Privileges {
		for _, verb := range strings.Split(p.Verbs, ",") {
			verb, _, _ = strings.Cut(verb, "(")
			if verb = strings.TrimSpace(verb); verb != "" {
				tables, verbs = append(tables, p.Table), append(verbs, verb)
			}
		}
	}
	// A table that is missing is the schema's finding. DELETE exists for whole tables only.
	rows, err := db.Query(ctx, `SELECT w.verb || ' on ' || w.name
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, verb, n),
		     LATERAL (SELECT to_regclass('public.' || quote_ident(w.name)) AS relation) r
		WHERE r.relation IS NOT NULL
		  AND NOT CASE WHEN w.verb = 'DELETE' THEN has_table_privilege(r.relation, w.verb) ELSE has_any_column_privilege(r.relation, w.verb) END
		ORDER BY w.n`, tables, verbs)
	if err != nil {
		return f, err
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return f, err
	}
	f.OK = len(missing) == 0
	f.Detail = "the role may do what is needed"
	if !f.OK {
		f.Detail = "the role lacks " + strings.Join(missing, ", ") + ": run the output of opsdb migrate grants as a superuser"
	}
	return f, nil
}

func checkStatistics(ctx context.Context, db Querier, _ Expectation) (Finding, error) {
	f := Finding{Name: FindingStatistics, Detail: "the role sees the statistics of all backends"}
	if err := db.QueryRow(ctx, `SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')`).Scan(&f.OK); err != nil {
		return f, err
	}
	if !f.OK {
		f.Detail = "the role is no member of pg_read_all_stats: replication positions are hidden from it"
	}
	return f, nil
}

func checkReplication(ctx context.Context, db Querier, want Expectation) (Finding, error) {
	f := Finding{Name: FindingReplication}
	if want.Primary {
		var level string
		var streaming int
		err := db.QueryRow(ctx, `SELECT current_setting('wal_level'), (SELECT count(*) FROM pg_catalog.pg_stat_replication)`).Scan(&level, &streaming)
		if err != nil {
			return f, err
		}
		f.OK = level != "minimal"
		f.Detail = fmt.Sprintf("wal_level is %s, %d replicas are connected", level, streaming)
		return f, nil
	}
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver)`).Scan(&f.OK)
	f.Detail = "the replica is connected to its primary"
	if !f.OK {
		f.Detail = "the replica is not connected to its primary: what main has committed does not arrive"
	}
	return f, err
}

func checkSynchronousCommit(ctx context.Context, db Querier, _ Expectation) (Finding, error) {
	f := Finding{Name: FindingSynchronousCommit, Fatal: true}
	var value string
	if err := db.QueryRow(ctx, `SELECT current_setting('synchronous_commit')`).Scan(&value); err != nil {
		return f, err
	}
	f.OK = value != "off"
	f.Detail = "synchronous_commit is " + value
	if !f.OK {
		f.Detail += ": a crash of the primary would lose acknowledged writes"
	}
	return f, nil
}

func checkDurability(ctx context.Context, db Querier, _ Expectation) (Finding, error) {
	f := Finding{Name: FindingDurability}
	var fsync, pages string
	if err := db.QueryRow(ctx, `SELECT current_setting('fsync'), current_setting('full_page_writes')`).Scan(&fsync, &pages); err != nil {
		return f, err
	}
	f.OK = fsync == "on" && pages == "on"
	f.Detail = "fsync is " + fsync + ", full_page_writes is " + pages
	if !f.OK {
		f.Detail += ": a power cut can lose or break acknowledged writes"
	}
	return f, nil
}

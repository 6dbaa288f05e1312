package sql

import (
	"fmt"
	"strings"
)

// The group roles that hold the rights; login roles are members of one of them.
const (
	// WriteRole reads and writes at the primary.
	WriteRole = "opsdb_write"
	// ReadRole only reads, on the primary or a replica.
	ReadRole = "opsdb_read"
)

// Login is a role that a process of opsdb connects as.
type Login struct {
	// Name of the role.
	Name string
	// Password it is given; empty leaves it as it is.
	Password string
}

// SiteLogins are the roles of one secondary site. Roles replicate, so all of
// them are made at the primary.
type SiteLogins struct {
	// Processor writes at the primary, over the long link.
	Processor Login
	// Reader reads the site's replica.
	Reader Login
	// Replication streams the primary's log to the replica.
	Replication Login
}

// Logins are the roles of one installation.
type Logins struct {
	// Main is the role of the API servers at the main site.
	Main Login
	// Sites are the secondary sites.
	Sites []SiteLogins
}

// DefaultLogins names the roles of an installation with these secondary sites
// (short names): opsdb_main, and opsdb_<site>, opsdb_<site>_read and
// opsdb_<site>_replication for each site. No passwords are set.
func DefaultLogins(sites ...string) Logins {
	logins := Logins{Main: Login{Name: "opsdb_main"}}
	for _, site := range sites {
		name := "opsdb_" + site
		logins.Sites = append(logins.Sites, SiteLogins{
			Processor:   Login{Name: name},
			Reader:      Login{Name: name + "_read"},
			Replication: Login{Name: name + "_replication"},
		})
	}
	return logins
}

// Rights says what the write role may do with each table besides reading it.
// Tables that are only ever appended to have no UPDATE and no DELETE: not even a
// stolen credential of an API server can rewrite history. The column changes of the ledger can be filled in where there are none, for
// large transactions, and never rewritten (00023_ledger_written_once.sql).
var Rights = []struct{ Table, Verbs string }{
	{"api_token", "INSERT, UPDATE"},
	{"app_user", "INSERT, UPDATE"},
	{"applied_transaction", "INSERT, UPDATE (changes)"},
	{"audit_event", "INSERT"},
	{"data_location", "INSERT, UPDATE"},
	{"data_transfer", "INSERT, UPDATE"},
	{"data_transfer_package", "INSERT, UPDATE"},
	{"data_transfer_route", "INSERT, UPDATE"},
	{"dead_letter_decision", "INSERT"},
	{"executed_obs_unit", "INSERT, UPDATE"},
	{"executed_obs_unit_module", "INSERT"},
	{"instrument", "INSERT, UPDATE"},
	{"instrument_module", "INSERT, UPDATE"},
	{"instrument_module_configuration", "INSERT, UPDATE"},
	{"long_term_archive_transfer", "INSERT, UPDATE"},
	{"obs_mode", "INSERT, UPDATE"},
	{"obs_unit", "INSERT, UPDATE"},
	{"obs_unit_azimuth_range", "INSERT, UPDATE, DELETE"},
	{"obs_unit_module_configuration", "INSERT, DELETE"},
	{"observation_configuration", "INSERT, UPDATE"},
	{"observatory", "INSERT, UPDATE"},
	{"observing_program", "INSERT, UPDATE, DELETE"},
	{"permission", ""},
	{"physical_copy", "INSERT, UPDATE"},
	{"pre_scheduled_slot", "INSERT, UPDATE, DELETE"},
	{"raw_data_file", "INSERT, UPDATE"},
	{"raw_data_package", "INSERT, UPDATE"},
	{"raw_data_package_metadata", "INSERT, UPDATE"},
	{"role", "INSERT, UPDATE, DELETE"},
	{"role_permission", "INSERT, DELETE"},
	{"session", "INSERT, UPDATE, DELETE"},
	{"signing_key", "INSERT, UPDATE"},
	{"site", "INSERT, UPDATE"},
	{"site_status", "INSERT, UPDATE"},
	{"source", "INSERT, UPDATE"},
	{"spectral_line", "INSERT, UPDATE"},
	{"staging_job", "INSERT, UPDATE"},
	{"staging_job_package", "INSERT, UPDATE"},
	{"sub_observing_program", "INSERT, UPDATE, DELETE"},
	{"table_version", ""},
	{"telescope", "INSERT, UPDATE"},
	{"transfer_log", "INSERT"},
	{"user_preference", "INSERT, UPDATE, DELETE"},
	{"user_role", "INSERT, UPDATE, DELETE"},
}

// Grants returns the SQL that makes the roles and gives each what it needs and
// no more. A superuser runs it in the migrated database, again after every
// migration; running it twice changes nothing.
//
// The main role is a member of every processor's: that alone lets it end a
// processor's backend that hangs in mid flush. It and the readers are members
// of pg_read_all_stats, without which the LSNs of pg_stat_replication and
// pg_stat_wal_receiver are silently NULL.
func Grants(logins Logins) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("-- Roles and rights of opsdb. Run as a superuser in the migrated database, and again after each migration.")
	line("BEGIN;")
	for _, group := range []string{WriteRole, ReadRole} {
		createRole(line, group)
	}
	line("GRANT USAGE ON SCHEMA public TO %s, %s;", WriteRole, ReadRole)
	line("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %s, %s;", WriteRole, ReadRole)
	line("GRANT SELECT ON ALL TABLES IN SCHEMA public TO %s, %s;", WriteRole, ReadRole)
	// A direct write takes the ids of its new rows beforehand.
	line("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO %s;", WriteRole)
	for _, r := range Rights {
		if r.Verbs != "" {
			line("GRANT %s ON %s TO %s;", r.Verbs, r.Table, WriteRole)
		}
	}

	login := func(l Login, attribute string, memberOf ...string) {
		createRole(line, l.Name)
		name := quoteIdentifier(l.Name)
		password := ""
		if l.Password != "" {
			password = " PASSWORD " + quoteLiteral(l.Password)
		}
		line("ALTER ROLE %s %s%s;", name, attribute, password)
		for _, group := range memberOf {
			line("GRANT %s TO %s;", quoteIdentifier(group), name)
		}
	}
	for _, site := range logins.Sites {
		login(site.Processor, "LOGIN", WriteRole)
		login(site.Reader, "LOGIN", ReadRole, "pg_read_all_stats")
		login(site.Replication, "LOGIN REPLICATION")
	}
	memberOf := []string{WriteRole, "pg_read_all_stats"}
	for _, site := range logins.Sites {
		memberOf = append(memberOf, site.Processor.Name)
	}
	login(logins.Main, "LOGIN", memberOf...)
	line("COMMIT;")
	return b.String()
}

// createRole makes a role where it does not exist: CREATE ROLE knows no IF NOT EXISTS.
func createRole(line func(string, ...any), name string) {
	line("DO $opsdb$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s) THEN CREATE ROLE %s; END IF; END $opsdb$;",
		quoteLiteral(name), quoteIdentifier(name))
}

func quoteIdentifier(s string) string {
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// quoteLiteral writes s as a literal of the E form, whose meaning no setting of the server changes.
func quoteLiteral(s string) string {
	return `E'` + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + `'`
}

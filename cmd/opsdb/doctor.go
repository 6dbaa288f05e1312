package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/transfers"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/rdb"
	opsdbsql "github.com/opsdb/opsdb/sql"
)

// newDoctorCommand returns `opsdb doctor`, which asks the servers of a site what
// the API server asks before it starts.
func newDoctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the settings and the servers of this site",
		Long: `Check the settings, PostgreSQL and Redis of this site, as the API server does
when it starts. The exit code is 0 when the site can work, and 1 when the server
would refuse to start, or waits for a server of the site that does not answer. At
a secondary site the primary is no such server: the link may be down.`,
		Args: cobra.NoArgs,
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load()
		if err != nil {
			return err
		}
		found, err := examine(cmd.Context(), c)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), found)
		} else {
			err = found.print(cmd.OutOrStdout())
		}
		if err != nil {
			return err
		}
		if found.fails() {
			return exitError{1}
		}
		return nil
	}
	return cmd
}

// examination is what each server of a site answered.
type examination []examined

type examined struct {
	Server   string      `json:"server"`
	Findings pg.Findings `json:"findings"`
	// Reports says that nothing here refuses a start.
	Reports bool `json:"reports_only"`
}

// examine asks every server that the settings name.
func examine(ctx context.Context, c *config.Config) (examination, error) {
	version, err := schemaVersion()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var found examination
	add := func(name, url string, want pg.Expectation, reports bool) error {
		pool, err := pg.OpenReader(ctx, url, pg.Options{ApplicationName: "opsdb doctor", MaxConns: 1})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer pool.Close()
		findings := pg.Check(ctx, pool, want)
		if findings.Answered() && want.Primary == c.IsMain() {
			findings = append(findings, examineSite(ctx, pool, c.SiteName))
		}
		found = append(found, examined{Server: name, Findings: findings, Reports: reports})
		return nil
	}
	found = append(found, examineKeys(c), examineProxy(c))
	if err := add("primary", c.MainDB.URL, pg.Expectation{Primary: true, SchemaVersion: version, Privileges: writePrivileges()}, !c.IsMain()); err != nil {
		return nil, err
	}
	if c.IsMain() {
		return found, nil
	}
	if err := add("replica", c.LocalDB.URL, pg.Expectation{SchemaVersion: version, Privileges: readPrivileges()}, false); err != nil {
		return nil, err
	}
	redis, err := examineRedis(ctx, c)
	if err != nil {
		return nil, err
	}
	return append(found, redis), nil
}

// What is examined beside servers.
const (
	findingSite    = "site"
	findingKey     = "signing_key"
	findingProxies = "trusted_proxies"
)

// examineSite looks for the site in its own database.
func examineSite(ctx context.Context, pool *pgxpool.Pool, name string) pg.Finding {
	f := pg.Finding{Name: findingSite, Fatal: true, Detail: name + " is known"}
	_, err := transfers.SiteID(ctx, pool, name)
	switch {
	case errors.Is(err, transfers.ErrUnknownSite):
		f.Detail = fmt.Sprintf("there is no site %q: SITE_NAME is wrong, or add it at main with `opsdb site add %s`", name, name)
	case err != nil:
		f.Fatal, f.Detail = false, err.Error()
	default:
		f.OK = true
	}
	return f
}

// examineKeys looks for the site's own key, without which nobody logs in here and nothing is exported.
func examineKeys(c *config.Config) examined {
	f := pg.Finding{Name: findingKey, OK: true, Fatal: c.GitHub.ClientID != "", Detail: "is there"}
	if _, err := auth.NewestSigningKey(c.SiteKeysDir, c.SiteName); err != nil {
		f.OK, f.Detail = false, err.Error()+" (opsdb keys init)"
	}
	return examined{Server: "keys", Findings: pg.Findings{f}}
}

// examineProxy looks for the proxy that must be in front of an encrypted address, for this server speaks HTTP: one that is
// not trusted is the one client of all limits.
func examineProxy(c *config.Config) examined {
	f := pg.Finding{Name: findingProxies, OK: true, Detail: strings.Join(c.TrustedProxies, ", ")}
	switch {
	case len(c.TrustedProxies) > 0:
	case strings.HasPrefix(c.BackendURL, "https:"):
		f.OK, f.Detail = false, "BACKEND_URL is encrypted by a proxy, whose address all clients have here, in limits and the audit log: name it in TRUSTED_PROXIES"
	default:
		f.Detail = "none, and BACKEND_URL needs none"
	}
	return examined{Server: "proxy", Findings: pg.Findings{f}, Reports: true}
}

func examineRedis(ctx context.Context, c *config.Config) (examined, error) {
	client, err := rdb.Open(rdb.Options{URL: c.Redis.URL, Name: "opsdb-doctor", PoolSize: 1})
	if err != nil {
		return examined{}, err
	}
	defer client.Close() //nolint:errcheck // nothing was written
	out := examined{Server: "redis"}
	d, err := client.Durability(ctx)
	if err != nil {
		out.Findings = pg.Findings{{Name: pg.FindingReachable, Fatal: !rdb.Unreachable(err), Detail: err.Error()}}
		return out, nil
	}
	detail := "every acknowledged write is on disk"
	if !d.Safe() {
		detail = d.Error()
	}
	if d.Unknown != "" {
		detail += "; not to be read: " + d.Unknown
	}
	out.Findings = pg.Findings{
		{Name: pg.FindingReachable, OK: true, Detail: "answers"},
		{Name: pg.FindingServerVersion, OK: true, Detail: "Redis " + d.Server.Version},
		{Name: pg.FindingDurability, OK: d.Safe() && d.Unknown == "", Fatal: !d.Safe() && c.Durability == "strict", Detail: detail},
	}
	return out, nil
}

// fails reports whether the API server would not start, or not serve.
func (e examination) fails() bool {
	for _, x := range e {
		if !x.Reports && (x.Findings.Err() != nil || !x.Findings.Answered()) {
			return true
		}
	}
	return false
}

func (e examination) print(w io.Writer) error {
	for _, x := range e {
		if _, err := fmt.Fprintf(w, "%s\n", x.Server); err != nil {
			return err
		}
		for _, f := range x.Findings {
			mark := "ok  "
			switch {
			case !f.OK && !x.Reports && (f.Fatal || f.Name == pg.FindingReachable):
				mark = "FAIL"
			case !f.OK:
				mark = "warn"
			}
			if _, err := fmt.Fprintf(w, "  %s  %-20s %s\n", mark, f.Name, oneLine(f.Detail)); err != nil {
				return err
			}
		}
	}
	return nil
}

// schemaVersion returns the newest migration this binary knows.
func schemaVersion() (int64, error) {
	entries, err := opsdbsql.Migrations.ReadDir("migrations")
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	var newest int64
	for _, entry := range entries {
		number, _, _ := strings.Cut(entry.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the migrations: %s has no number", entry.Name())
		}
		newest = max(newest, version)
	}
	return newest, nil
}

// writePrivileges is what the role at the primary has to be permitted.
func writePrivileges() []pg.Privilege {
	var out []pg.Privilege
	for _, right := range opsdbsql.Rights {
		out = append(out, pg.Privilege{Table: right.Table, Verbs: strings.Trim("SELECT, "+right.Verbs, ", ")})
	}
	return out
}

// readPrivileges is what the role at a replica has to be permitted.
func readPrivileges() []pg.Privilege {
	var out []pg.Privilege
	for _, right := range opsdbsql.Rights {
		out = append(out, pg.Privilege{Table: right.Table, Verbs: "SELECT"})
	}
	return out
}

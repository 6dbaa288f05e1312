package main

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
)

// newAuditCommand returns `opsdb audit`, which checks the audit log on the primary.
func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check the audit log",
		Args:  cobra.NoArgs,
	}
	url, asJSON := primaryFlag(cmd), jsonFlag(cmd)
	var site string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Find events of the audit log that were changed, taken out or put in",
		Long: `Walk the chain of each site's audit log and hold it against the ledger. Broken
events are named, the first one first; then the exit code is 1.

A chain begins once; it begins anew where a site could not read its replica and had no
event pending, and the event says so. An event that became a dead letter is missing in
its chain.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				verdict, err := auth.NewAdmin(conn).VerifyAudit(cmd.Context(), site)
				if err != nil {
					return err
				}
				if err := printVerdict(cmd, *asJSON, verdict); err != nil {
					return err
				}
				if len(verdict.Broken) > 0 {
					return exitError{1}
				}
				return nil
			})
		},
	}
	verify.Flags().StringVar(&site, "site", "", "short name of the one site to look at")
	cmd.AddCommand(verify)
	return cmd
}

func printVerdict(cmd *cobra.Command, asJSON bool, verdict auth.Verdict) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return printJSON(out, verdict)
	}
	for _, s := range verdict.Sites {
		if _, err := fmt.Fprintf(out, "%s: %d events, %d chains\n", s.Site, s.Events, s.Chains); err != nil {
			return err
		}
	}
	for _, b := range verdict.Broken {
		if _, err := fmt.Fprintf(out, "BROKEN %s %s %s %s: %s\n", b.Site, b.At.UTC().Format("2006-01-02T15:04:05.000000Z"), b.ID, b.Action, b.Wrong); err != nil {
			return err
		}
	}
	if len(verdict.Broken) == 0 {
		_, err := fmt.Fprintln(out, "nothing is broken")
		return err
	}
	return nil
}

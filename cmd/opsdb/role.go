package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
)

// newRoleCommand returns `opsdb role`, which shows what roles permit.
func newRoleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "role",
		Short: "Show roles and what they permit",
		Args:  cobra.NoArgs,
	}
	url, asJSON := primaryFlag(cmd), jsonFlag(cmd)
	list := &cobra.Command{
		Use:   "list",
		Short: "List the roles",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				roles, err := auth.NewAdmin(conn).Roles(cmd.Context())
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), roles)
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintln(table, "ROLE\tPERMISSIONS\tDESCRIPTION")
				for _, r := range roles {
					fmt.Fprintf(table, "%s\t%d\t%s\n", r.Name, len(r.Permissions), r.Description)
				}
				return table.Flush()
			})
		},
	}
	show := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one role with its permissions",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				roles, err := auth.NewAdmin(conn).Roles(cmd.Context())
				if err != nil {
					return err
				}
				for _, r := range roles {
					if r.Name != args[0] {
						continue
					}
					if *asJSON {
						return printJSON(cmd.OutOrStdout(), r)
					}
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n  %s\n", r.Name, r.Description, strings.Join(r.Permissions, "\n  "))
					return err
				}
				return fmt.Errorf("role %s: %w", args[0], auth.ErrRoleUnknown)
			})
		},
	}
	cmd.AddCommand(list, show)
	return cmd
}

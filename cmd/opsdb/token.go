package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
)

// newTokenCommand returns `opsdb token`, which makes, lists and revokes API tokens on the primary,
// and denies credentials at a site that is cut off from it.
func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke API tokens; deny credentials at a cut-off site",
		Args:  cobra.NoArgs,
	}
	url, asJSON := primaryFlag(cmd), jsonFlag(cmd)
	cmd.AddCommand(newTokenCreateCommand(url, asJSON), newTokenListCommand(url, asJSON), newTokenRevokeCommand(url), newTokenDenyCommand())
	return cmd
}

func newTokenCreateCommand(url *string, asJSON *bool) *cobra.Command {
	var n auth.NewToken
	create := &cobra.Command{
		Use:   "create --user NAME --name TOKEN",
		Short: "Make an API token and print its secret, once",
		Long: `Make an API token and print its secret on standard output. It is shown this
once: only its hash is stored. A token has the rights of its user; scopes narrow
them and never add any.`,
		Example: `  opsdb token create --user vera --name laptop --expires 24h
  opsdb token create --user svc-primecam --name primecam-daq --scope 'read:*' --scope write:observations`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("expires") && n.Lifetime <= 0 {
				return errors.New("--expires must be longer than nothing")
			}
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				secret, id, err := admin.CreateToken(ctx, n)
				if err != nil {
					return err
				}
				if *asJSON {
					out := map[string]any{"id": id, "username": n.Username, "name": n.Name, "scopes": n.Scopes, "token": secret, "expires_at": nil}
					if n.Lifetime > 0 {
						out["expires_at"] = time.Now().Add(n.Lifetime).UTC().Format(time.RFC3339)
					}
					return printJSON(cmd.OutOrStdout(), out)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
				return err
			})
		},
	}
	create.Flags().StringVar(&n.Username, "user", "", "whose rights the token carries")
	create.Flags().StringVar(&n.Name, "name", "", "what the token is for; unique among the user's active tokens")
	create.Flags().StringSliceVar(&n.Scopes, "scope", nil, "a permission or action:*, to narrow the user's rights (may be repeated; none = all rights)")
	create.Flags().DurationVar(&n.Lifetime, "expires", 0, "how long the token is valid, such as 24h (default: until it is revoked)")
	required(create, "user", "name")
	return create
}

func newTokenListCommand(url *string, asJSON *bool) *cobra.Command {
	var username string
	list := &cobra.Command{
		Use:   "list",
		Short: "List API tokens, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				tokens, err := auth.NewAdmin(conn).Tokens(cmd.Context(), username)
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), tokens)
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tUSER\tNAME\tBEGINS\tSTATE\tEXPIRES\tLAST USE\tUSES\tSCOPES")
				for _, t := range tokens {
					fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", t.ID, t.Username, t.Name, t.Prefix, tokenState(t),
						when(t.ExpiresAt, "never"), when(t.LastUsedAt, "never"), t.UsageCount, strings.Join(t.Scopes, " "))
				}
				return table.Flush()
			})
		},
	}
	list.Flags().StringVar(&username, "user", "", "only this user's")
	return list
}

func tokenState(t auth.APIToken) string {
	switch {
	case !t.IsActive:
		return "revoked"
	case t.ExpiresAt != nil && !time.Now().Before(*t.ExpiresAt):
		return "expired"
	}
	return "active"
}

func newTokenRevokeCommand(url *string) *cobra.Command {
	var username, name string
	revoke := &cobra.Command{
		Use:   "revoke [ID]",
		Short: "End an API token for good",
		Long: `End an API token for good. The main site refuses it within a second or two, another
site as soon after its replica shows the revocation.`,
		Example: `  opsdb token revoke 17
  opsdb token revoke --user vera --name laptop`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				var id int64
				var err error
				switch {
				case len(args) == 1 && username == "" && name == "":
					if id, err = strconv.ParseInt(args[0], 10, 64); err != nil {
						return fmt.Errorf("%q is no id of a token", args[0])
					}
				case len(args) == 0 && username != "" && name != "":
					if id, err = admin.TokenID(ctx, username, name); err != nil {
						return err
					}
				default:
					return errors.New("name the token by its ID, or by --user and --name")
				}
				if err := admin.RevokeToken(ctx, id); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "token %d is revoked\n", id)
				return err
			})
		},
	}
	revoke.Flags().StringVar(&username, "user", "", "the token's user")
	revoke.Flags().StringVar(&name, "name", "", "the token's name")
	return revoke
}

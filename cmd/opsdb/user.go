package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
)

// newUserCommand returns `opsdb user`, which makes users on the primary without any credential of the API: the first
// administrator of an installation comes from here.
func newUserCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Make, list and change users",
		Args:  cobra.NoArgs,
	}
	url, asJSON := primaryFlag(cmd), jsonFlag(cmd)

	var roles []string
	var service bool
	var fullName string
	create := &cobra.Command{
		Use:   "create NAME --role ROLE",
		Short: "Make a user",
		Example: `  opsdb user create vera --role admin
  opsdb user create svc-primecam --role service --service --full-name "Prime-Cam data acquisition"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if err := admin.CreateUser(ctx, args[0], fullName, service, roles...); err != nil {
					return err
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]any{"username": args[0], "roles": roles, "service": service})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "user %s has the role %s\n", args[0], strings.Join(roles, ", "))
				return err
			})
		},
	}
	create.Flags().StringSliceVar(&roles, "role", nil, "admin, observer, viewer or service (may be repeated)")
	create.Flags().BoolVar(&service, "service", false, "a program and no person")
	create.Flags().StringVar(&fullName, "full-name", "", "the name to show")
	required(create, "role")

	grant := &cobra.Command{
		Use:   "grant NAME ROLE",
		Short: "Give a user one more role",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if err := admin.GrantRole(ctx, args[0], args[1]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.ErrOrStderr(), "user %s has the role %s\n", args[0], args[1])
				return err
			})
		},
	}

	list := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				users, err := auth.NewAdmin(conn).Users(cmd.Context())
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), users)
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintln(table, "USER\tROLES\tKIND\tACTIVE\tNAME")
				for _, u := range users {
					kind := "person"
					if u.IsService {
						kind = "service"
					}
					fmt.Fprintf(table, "%s\t%s\t%s\t%t\t%s\n", u.Username, strings.Join(u.Roles, ", "), kind, u.IsActive, u.FullName)
				}
				return table.Flush()
			})
		},
	}
	cmd.AddCommand(create, grant, newUserRevokeCommand(url), newUserLinkCommand(url), list, newUserShowCommand(url, asJSON),
		newUserDeactivateCommand(url), newUserActivateCommand(url))
	return cmd
}

func newUserRevokeCommand(url *string) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME ROLE",
		Short: "Take a role from a user",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if err := admin.RevokeRole(ctx, args[0], args[1]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.ErrOrStderr(), "user %s no longer has the role %s\n", args[0], args[1])
				return err
			})
		},
	}
}

func newUserLinkCommand(url *string) *cobra.Command {
	return &cobra.Command{
		Use:   "link NAME ACCOUNT",
		Short: "Say which GitHub account is a user's",
		Long: `Say which GitHub account a user that was made by hand logs in with: ACCOUNT is its
number (the "id" of https://api.github.com/users/LOGIN), for names change hands; none
takes it away. The roles that the user has stay, beside those of the teams. The sessions
that another account has begun end; its API tokens stay until they are revoked.`,
		Example: `  opsdb user link vera 1001
  opsdb user link vera none`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var account *int64
			if args[1] != "none" {
				number, err := strconv.ParseInt(args[1], 10, 64)
				if err != nil || number <= 0 {
					return fmt.Errorf("%q is no number of a GitHub account, which is above 0, and not none", args[1])
				}
				account = &number
			}
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if err := admin.LinkGitHub(ctx, args[0], account); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.ErrOrStderr(), "user %s logs in with the GitHub account %s\n", args[0], args[1])
				return err
			})
		},
	}
}

func newUserDeactivateCommand(url *string) *cobra.Command {
	var revoke bool
	cmd := &cobra.Command{
		Use:   "deactivate NAME",
		Short: "Refuse a user's credentials from now on",
		Long: `Refuse a user's credentials from now on, and end the sessions. The main site follows
within a second or two, another site as soon after its replica shows it. API tokens
are accepted again when the user is activated; with --revoke-tokens they are not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if !revoke {
					if err := admin.SetActive(ctx, args[0], false); err != nil {
						return err
					}
					_, err := fmt.Fprintf(cmd.ErrOrStderr(), "user %s: active false\n", args[0])
					return err
				}
				ended, err := admin.PutOut(ctx, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "user %s: active false, %d API tokens revoked\n", args[0], ended)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke-tokens", false, "revoke all API tokens of the user, for good")
	return cmd
}

func newUserActivateCommand(url *string) *cobra.Command {
	return &cobra.Command{
		Use:   "activate NAME",
		Short: "Accept a user's credentials again",
		Long: `Accept a user's credentials again: API tokens that were not revoked, and new logins.
It says how many tokens that are. The main site follows within a second or two,
another site as soon after its replica shows it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withAdmin(cmd, *url, func(ctx context.Context, admin *auth.Admin) error {
				if err := admin.SetActive(ctx, args[0], true); err != nil {
					return err
				}
				tokens, err := admin.Tokens(ctx, args[0])
				if err != nil {
					return err
				}
				valid := 0
				for _, token := range tokens {
					if tokenState(token) == "active" {
						valid++
					}
				}
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "user %s: active true, with %d API tokens (opsdb token list --user %s)\n", args[0], valid, args[0])
				return err
			})
		},
	}
}

func newUserShowCommand(url *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one user",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				u, err := auth.NewAdmin(conn).User(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), u)
				}
				email := "unknown"
				if u.Email != nil {
					email = *u.Email
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				fmt.Fprintf(table, "user\t%s (%d)\nname\t%s\nroles\t%s\nactive\t%t\nservice\t%t\ne-mail\t%s\nlast login\t%s\ncreated\t%s\n",
					u.Username, u.ID, u.FullName, strings.Join(u.Roles, ", "), u.IsActive, u.IsService, email, when(u.LastLoginAt, "never"), when(&u.CreatedAt, ""))
				return table.Flush()
			})
		},
	}
}

// required marks flags that a command cannot do without.
func required(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // a flag that does not exist: a mistake in this program
		}
	}
}

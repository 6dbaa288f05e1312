package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	demodata "github.com/opsdb/opsdb/sql/demo"
)

// newSeedCommand returns `opsdb seed`, which fills the primary with the demo data.
func newSeedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Fill the primary with demo data: real instruments, sources, programmes and nights",
		Long: `Fill the primary with demo data. What is there already stays as it is, so a
second run changes nothing. The tokens of the demo users get random secrets;
--tokens prints those that were made by this run.`,
		Args: cobra.NoArgs,
	}
	url := primaryFlag(cmd)
	tokens := cmd.Flags().Bool("tokens", false, "print the secrets of the tokens made, as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
			made, err := seed(cmd.Context(), conn)
			if err != nil {
				return err
			}
			if *tokens {
				return printJSON(cmd.OutOrStdout(), made)
			}
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), "the demo data is there")
			return err
		})
	}
	return cmd
}

// demoToken is a token of the demo users. Their secrets are made here, for none may lie in a file.
type demoToken struct {
	auth.NewToken
	revoked bool
}

var demoTokens = []demoToken{
	{NewToken: auth.NewToken{Username: "svc-primecam", Name: "primecam-daq", Scopes: []string{"read:*", "write:observations", "write:files", "write:packages"}}},
	{NewToken: auth.NewToken{Username: "svc-chai", Name: "chai-daq", Scopes: []string{"read:*", "write:observations", "write:files", "write:packages"}}},
	{NewToken: auth.NewToken{Username: "svc-transfer", Name: "transfer-manager", Scopes: []string{"read:*", "write:transfers"}}},
	{NewToken: auth.NewToken{Username: "scientist1", Name: "notebook-2025", Lifetime: -24 * time.Hour}},
	{NewToken: auth.NewToken{Username: "observer1", Name: "lost-laptop"}, revoked: true},
}

// seed inserts the demo data and makes the tokens that are missing. It returns the secrets of those, by name.
func seed(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	if err := demodata.Seed(ctx, conn); err != nil {
		return nil, err
	}
	admin, made := auth.NewAdmin(conn), map[string]string{}
	for _, token := range demoTokens {
		had, err := admin.HasToken(ctx, token.Username, token.Name)
		if err != nil {
			return nil, err
		}
		if had {
			continue
		}
		secret, id, err := admin.CreateToken(ctx, token.NewToken)
		if err != nil {
			return nil, err
		}
		made[token.Name] = secret
		if token.revoked {
			if err := admin.RevokeToken(ctx, id); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

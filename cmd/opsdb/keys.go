package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
)

// newKeysCommand returns `opsdb keys`, which makes a site's signing keys. Each site has its own, and a private part
// never leaves it.
func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make and renew this site's signing keys",
		Long: `Make and renew the Ed25519 keys of this site, in SITE_KEYS_DIR. The public part
is published on the primary when that can be reached; if it cannot, run the
command again later: keys init publishes what is there.`,
		Args: cobra.NoArgs,
	}
	url := primaryFlag(cmd)
	var dir, site string
	cmd.PersistentFlags().StringVar(&dir, "dir", os.Getenv("SITE_KEYS_DIR"), "folder of the keys (default: SITE_KEYS_DIR)")
	cmd.PersistentFlags().StringVar(&site, "site", os.Getenv("SITE_NAME"), "short name of the site (default: SITE_NAME)")

	run := func(makeKey func(dir, site string, now time.Time) (auth.SigningKey, error)) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			if dir == "" || site == "" {
				return errors.New("SITE_KEYS_DIR or --dir, and SITE_NAME or --site, are required")
			}
			key, err := makeKey(dir, site, time.Now())
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), key.ID); err != nil {
				return err
			}
			if err := publish(cmd, *url, site, key); err != nil {
				_, printErr := fmt.Fprintf(cmd.ErrOrStderr(), "the key is made, and not published yet: %v\n", err)
				return printErr
			}
			return nil
		}
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "init",
		Short: "Make the first key, unless there is one, and publish the newest",
		Args:  cobra.NoArgs,
		RunE:  run(auth.InitSigningKey),
	}, &cobra.Command{
		Use:   "rotate",
		Short: "Make and publish a new key; the old one is retired when all it has signed is over",
		Args:  cobra.NoArgs,
		RunE:  run(auth.NewSigningKey),
	})
	return cmd
}

func publish(cmd *cobra.Command, url, site string, key auth.SigningKey) error {
	return withAdmin(cmd, url, func(ctx context.Context, admin *auth.Admin) error {
		return admin.AddSigningKey(ctx, site, key.ID, key.PublicText())
	})
}

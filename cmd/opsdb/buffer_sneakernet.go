package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/txn"
)

func newBufferExportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export FILE", Short: "Write the buffer to a file that can be carried to main",
		Long: `Write every transaction that this site keeps, dead letters and discarded ones
apart, to FILE, signed with the site's key (SITE_KEYS_DIR). Nothing leaves the
buffer: when the link is back, the site finds in main's ledger what an import
has applied. FILE must not be there yet, and is there when it is whole.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRedis(cmd.Context(), func(c *config.Config, catalog *txn.Catalog, client *rdb.Client) error {
				key, err := auth.NewestSigningKey(c.SiteKeysDir, c.SiteName)
				if errors.Is(err, auth.ErrNoSigningKey) {
					return fmt.Errorf("%w: make one with `opsdb keys init`", err)
				}
				if err != nil {
					return err
				}
				done, err := buffer.Export(cmd.Context(), args[0], buffer.ExportConfig{
					Site: c.SiteName, Redis: client, Catalog: catalog, Key: buffer.SneakernetKey{ID: key.ID, Private: key.Private},
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d transactions are in the file; %d dead letters and what waits for them are not\n", done.Transactions, done.LeftOut)
				return err
			})
		},
	}
}

func newBufferImportCommand(asJSON *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "At main: apply what a site has exported",
		Long: `Apply the transactions of a file that ` + "`opsdb buffer export`" + ` wrote at a secondary
site, in order and each once, also when it is imported twice or the link returns
meanwhile. A file that is not whole, not signed by a key that the site has
published, or newer than this opsdb is refused before anything is changed. The
role is main's own (MAIN_DB_URL) or the owner of the tables.

What main refuses, and what depends on it, is listed and stays at the site; the
exit code is 1 then.`,
		Args: cobra.ExactArgs(1),
	}
	url := primaryFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		primary, err := primaryURL(*url)
		if err != nil {
			return err
		}
		problems, err := problem.NewCatalog(problemSets...)
		if err != nil {
			return err
		}
		catalog, err := newCatalog()
		if err != nil {
			return err
		}
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		done, err := buffer.Import(cmd.Context(), file, buffer.ImportConfig{PrimaryURL: primary, Catalog: catalog, Problems: problems})
		if done.Site != "" {
			err = errors.Join(err, printImported(cmd.OutOrStdout(), *asJSON, done))
		}
		if err != nil {
			return err
		}
		if len(done.Refused) > 0 {
			return exitError{1}
		}
		return nil
	}
	return cmd
}

func printImported(w io.Writer, asJSON bool, done buffer.Imported) error {
	if asJSON {
		return printJSON(w, done)
	}
	if _, err := fmt.Fprintf(w, "site %s, %d transactions: %d applied, %d already there, %d discarded, %d refused, %d held back\n",
		done.Site, done.Count, done.Applied, done.Found, done.Discarded, len(done.Refused), len(done.Held)); err != nil {
		return err
	}
	for _, n := range done.Refused {
		if _, err := fmt.Fprintf(w, "refused %d %s %s: %s: %s\n", n.Seq, n.ID, n.Operation, n.Problem.Title, n.Problem.Detail); err != nil {
			return err
		}
	}
	for _, n := range done.Held {
		if _, err := fmt.Fprintf(w, "held back %d %s %s: it depends on %d\n", n.Seq, n.ID, n.Operation, n.WaitsFor); err != nil {
			return err
		}
	}
	return nil
}

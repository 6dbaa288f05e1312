package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/txn"
)

// newBufferCommand returns `opsdb buffer`, an operator's view of a site's buffer.
// It speaks to the site's Redis itself, so it works with the servers stopped.
func newBufferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "buffer",
		Short: "Look at this site's buffer, decide about dead letters, pause draining, carry it to main in a file",
		Long: `Look at the buffer of this secondary site, retry, correct or discard dead letters,
pause and resume draining. The settings are those of the server (SITE_NAME, REDIS_URL …);
the site's Redis is asked directly, so the servers need not run. When the link
stays down, export writes the buffer to a file, and import applies it at main.`,
		Args: cobra.NoArgs,
	}
	asJSON := jsonFlag(cmd)
	cmd.AddCommand(
		newBufferStatusCommand(asJSON), newBufferListCommand(asJSON), newBufferShowCommand(), newBufferRetryCommand(),
		newBufferDiscardCommand(asJSON), newBufferReplaceCommand(asJSON),
		newBufferExportCommand(), newBufferImportCommand(asJSON),
		newBufferPauseCommand("pause", "Stop draining; accepting goes on", "buffer.pause", (*pending.Store).Pause),
		newBufferPauseCommand("resume", "Go on draining", "buffer.resume", (*pending.Store).Resume),
	)
	return cmd
}

// withRedis hands the settings of the site and its Redis to fn.
func withRedis(ctx context.Context, fn func(c *config.Config, catalog *txn.Catalog, client *rdb.Client) error) (err error) {
	c, err := config.Load()
	if err != nil {
		return err
	}
	if c.IsMain() {
		return errors.New("the main site has no buffer: this is for secondary sites")
	}
	catalog, err := newCatalog()
	if err != nil {
		return err
	}
	options := rdb.Options{URL: c.Redis.URL, Name: "opsdb-buffer-command"}
	if err := usedBy(ctx, options, c.SiteName); err != nil {
		return err
	}
	client, err := rdb.Open(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return fn(c, catalog, client)
}

// usedBy refuses a Redis that no server of the site has used: a command with a wrong SITE_NAME would see an empty buffer,
// and pause one that nobody drains. It asks by a client of its own, for a Store wants to see each connection made.
func usedBy(ctx context.Context, options rdb.Options, site string) (err error) {
	client, err := rdb.Open(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	used, err := pending.UsedBy(ctx, client, site)
	switch {
	case err != nil:
		return fmt.Errorf("asking the site's Redis (REDIS_URL): %w", err)
	case !used:
		return fmt.Errorf("no server of site %s has used this Redis: SITE_NAME or REDIS_URL is another site's", site)
	}
	return nil
}

// withBuffer hands the site's buffer and a view just taken of it to fn.
func withBuffer(ctx context.Context, fn func(store *pending.Store, view pending.View) error) error {
	return withRedis(ctx, func(c *config.Config, catalog *txn.Catalog, client *rdb.Client) error {
		return withStore(ctx, c, catalog, client, fn)
	})
}

func withStore(ctx context.Context, c *config.Config, catalog *txn.Catalog, client *rdb.Client, fn func(store *pending.Store, view pending.View) error) (err error) {
	// To look at a Redis that may lose writes loses none.
	store, err := pending.Open(ctx, client, storeOptions(c, catalog, pending.Relaxed))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	view, err := store.CatchUp(ctx)
	if err != nil {
		return err
	}
	return fn(store, view)
}

func storeOptions(c *config.Config, catalog *txn.Catalog, durability pending.Durability) pending.Options {
	return pending.Options{
		Site: c.SiteName, Tables: bufferedTables(), Decoder: catalog, Capacity: c.BufferSize, Retention: c.Retention, Durability: durability,
	}
}

func newBufferStatusCommand(asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Count what is pending", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBuffer(cmd.Context(), func(_ *pending.Store, view pending.View) error {
				c := view.Counts()
				age := 0.0
				if !c.OldestAccepted.IsZero() {
					age = time.Since(c.OldestAccepted).Seconds()
				}
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]any{
						"buffered": c.Buffered, "applied": c.Applied, "failed": c.Failed, "blocked": c.Blocked, "oldest_age_s": age, "paused": view.Paused,
					})
				}
				paused := ""
				if view.Paused {
					paused = ", draining is paused"
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d buffered (oldest %.0f s), %d applied and not replicated yet, %d failed, %d blocked%s\n",
					c.Buffered, age, c.Applied, c.Failed, c.Blocked, paused)
				return err
			})
		},
	}
}

func newBufferListCommand(asJSON *bool) *cobra.Command {
	var dead bool
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List what is not replicated yet, oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBuffer(cmd.Context(), func(_ *pending.Store, view pending.View) error {
				var found []*pending.Tx
				view.Ascend(0, func(tx *pending.Tx) bool {
					if !dead || tx.State.Dead() {
						found = append(found, tx)
					}
					return len(found) < limit
				})
				if *asJSON {
					return printTransactions(cmd.OutOrStdout(), found)
				}
				return listTransactions(cmd.OutOrStdout(), view, found)
			})
		},
	}
	list.Flags().BoolVar(&dead, "dead", false, "dead letters only")
	list.Flags().IntVar(&limit, "limit", 100, "how many at most")
	return list
}

func printTransactions(w io.Writer, found []*pending.Tx) error {
	items := make([]map[string]any, len(found))
	for i, tx := range found {
		items[i] = map[string]any{
			"id": tx.ID, "seq": tx.Seq, "state": tx.State, "operation": tx.Operation, "actor": tx.Actor, "accepted_at": tx.AcceptedAt, "attempts": tx.Attempts,
		}
	}
	return printJSON(w, items)
}

func listTransactions(w io.Writer, view pending.View, found []*pending.Tx) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "SEQ\tID\tSTATE\tOPERATION\tACTOR\tACCEPTED\tWHY"); err != nil {
		return err
	}
	for _, tx := range found {
		if _, err := fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			tx.Seq, tx.ID, tx.State, tx.Operation, tx.Actor, tx.AcceptedAt.Format(time.RFC3339), why(view, tx)); err != nil {
			return err
		}
	}
	return table.Flush()
}

// why says in a few words why a transaction is a dead letter.
func why(view pending.View, tx *pending.Tx) string {
	if tx.Dead == nil {
		return ""
	}
	if by, ok := view.TxBySeq(tx.Dead.BlockedBy); ok {
		return "waits for " + by.ID.String()
	}
	var p struct{ Title, Detail string }
	if err := json.Unmarshal(tx.Dead.Problem, &p); err != nil {
		return ""
	}
	return p.Title + ": " + p.Detail
}

func newBufferShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one pending transaction with its steps, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBuffer(cmd.Context(), func(store *pending.Store, view pending.View) error {
				tx, err := pendingTransaction(view, args[0])
				if err != nil {
					return err
				}
				attempts, err := store.Attempts(cmd.Context(), tx.Seq)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), map[string]any{"state": tx.State, "attempts": attempts, "transaction": tx.JSON()})
			})
		},
	}
}

func pendingTransaction(view pending.View, text string) (*pending.Tx, error) {
	id, err := transactionID(text)
	if err != nil {
		return nil, err
	}
	tx, ok := view.Tx(id)
	if !ok {
		return nil, fmt.Errorf("no transaction %s is pending here", id)
	}
	return tx, nil
}

func newBufferRetryCommand() *cobra.Command {
	var all bool
	retry := &cobra.Command{
		Use: "retry [ID…]", Short: "Put dead letters back into the buffer, with all they block",
		Long: `Put dead letters back into the buffer in their old order, each with all it
blocks, without any check. What is no dead letter is left alone.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("give the ids of dead letters, or --all")
			}
			actor, err := shellActor()
			if err != nil {
				return err
			}
			return withSite(cmd.Context(), func(s *site, view pending.View) error {
				var seqs []int64
				for _, text := range args {
					tx, err := pendingTransaction(view, text)
					if err != nil {
						return err
					}
					seqs = append(seqs, tx.Seq)
				}
				again, err := s.store.Retry(cmd.Context(), seqs...)
				if err != nil {
					return err
				}
				about := ""
				if len(args) == 1 {
					about = args[0]
				}
				s.decidedBy(cmd.Context(), actor, "dead_letter.retry", about, map[string]any{"transactions": len(again)})
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d transactions are in the buffer again\n", len(again))
				return err
			})
		},
	}
	retry.Flags().BoolVar(&all, "all", false, "all dead letters")
	return retry
}

func newBufferPauseCommand(name, short, action string, set func(*pending.Store, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			actor, err := shellActor()
			if err != nil {
				return err
			}
			if err := withBuffer(cmd.Context(), func(store *pending.Store, _ pending.View) error { return set(store, cmd.Context()) }); err != nil {
				return err
			}
			// It is done, also by a site that could not accept the event at this moment.
			if err := withSite(cmd.Context(), func(s *site, _ pending.View) error {
				s.decidedBy(cmd.Context(), actor, action, "", map[string]any{})
				return nil
			}); err != nil {
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "done; the audit log is not told: %v\n", err)
				return err
			}
			return nil
		},
	}
}

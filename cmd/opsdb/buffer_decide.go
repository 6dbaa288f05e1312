package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/txn"
)

// checksOnce is how long the replica may take to answer the checks of a decision: nobody
// observes meanwhile.
const checksOnce = 10 * time.Second

// shellActor is who decides on a command line, where no token says it: the login name.
func shellActor() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("finding out who decides: %w", err)
	}
	return "shell:" + u.Username, nil
}

// withSite hands fn a secondary site as its server has it, so far as decisions about
// dead letters need it: they are buffered and never go to the primary past the buffer.
func withSite(ctx context.Context, fn func(s *site, view pending.View) error) error {
	return withRedis(ctx, func(c *config.Config, catalog *txn.Catalog, client *rdb.Client) (err error) {
		s := &site{config: c, log: slog.New(slog.DiscardHandler), catalog: catalog}
		s.store, err = pending.Open(ctx, client, storeOptions(c, catalog, pending.Durability(c.Durability)))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		view, err := s.store.CatchUp(ctx)
		if err != nil {
			return err
		}
		if s.local, err = pg.OpenReader(ctx, c.LocalDB.URL, pg.Options{ApplicationName: "opsdb-buffer-command"}); err != nil {
			return err
		}
		if s.id, err = s.siteID(ctx); err != nil {
			return err
		}
		s.reader = pending.NewReader(s.local, s.store, c.SiteName, pending.Limits{Accept: checksOnce, Check: checksOnce})
		s.writer = txn.NewBuffered(txn.BufferedConfig{Store: s.store, Reader: s.reader, Catalog: catalog, Site: c.SiteName, SiteID: s.id, Logger: s.log})
		s.audit = auth.NewLog(auth.LogConfig{Writer: s.writer, Site: c.SiteName, Capacity: c.BufferSize, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		return fn(s, view)
	})
}

// decidedBy tells the site's audit log, which goes through the buffer, what the command
// line's user has decided.
func (s *site) decidedBy(ctx context.Context, actor, action, transaction string, detail map[string]any) {
	detail["actor"] = actor
	s.decided(ctx, action, transaction, detail)
}

// decision is what an operator decides on the command line.
type decision struct {
	about uuid.UUID
	why   string
	by    string // the actor
}

// decisionFlags adds the flag for why an operator decides; the function returned reads
// it, and the id of what is decided about.
func decisionFlags(cmd *cobra.Command) func(id string) (decision, error) {
	reason := cmd.Flags().String("reason", "", "why, for those who ask later")
	return func(id string) (d decision, err error) {
		d.why = strings.TrimSpace(*reason)
		switch {
		case d.why == "":
			return d, errors.New("say why: --reason TEXT")
		case utf8.RuneCountInString(d.why) > 2000:
			return d, errors.New("a reason has at most 2,000 characters")
		}
		if d.about, err = transactionID(id); err != nil {
			return d, err
		}
		d.by, err = shellActor()
		return d, err
	}
}

func newBufferDiscardCommand(asJSON *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "discard ID --reason TEXT", Short: "Decide that a dead letter is never applied",
		Long: `Decide that a dead letter is never applied. Its rows leave the site's reads at
once; what it blocks stays blocked until it is retried or discarded too. There is
no way back. Done again it changes nothing and shows the first decision.`,
		Args: cobra.ExactArgs(1),
	}
	decide := decisionFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		decided, err := decide(args[0])
		if err != nil {
			return err
		}
		return withSite(cmd.Context(), func(s *site, _ pending.View) error {
			request := txn.Request{Operation: "discard-transaction", Actor: decided.by}
			d, receipt, err := buffer.DiscardDeadLetter(cmd.Context(), s.writer, s.catalog, request, decided.about, decided.why)
			if err != nil {
				return err
			}
			if !receipt.Replayed {
				s.decidedBy(cmd.Context(), decided.by, "dead_letter.discard", decided.about.String(), map[string]any{"reason": decided.why})
			}
			return printDecision(cmd.OutOrStdout(), *asJSON, d)
		})
	}
	return cmd
}

func newBufferReplaceCommand(asJSON *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "replace ID [--reason TEXT --file FILE]", Short: "Show the request behind a dead letter; with --file, correct it",
		Long: `Without --file, show the request that a dead letter came from, as JSON. With
--file, lay the JSON merge patch in FILE over it (the whole edited request is one,
- is standard input), check it as its operation does, and put it in the dead
letter's place; what that blocks goes on once it is applied. The site's replica is
needed for the checks.`,
		Example: `  opsdb buffer replace $ID > request.json
  opsdb buffer replace $ID --reason "the unit was entered again" --file request.json
  echo '{"obs_unit_id": 7}' | opsdb buffer replace $ID --reason "wrong unit" --file -`,
		Args: cobra.ExactArgs(1),
	}
	decide := decisionFlags(cmd)
	file := cmd.Flags().String("file", "", "what is to be different: a JSON merge patch of the request; - is standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("file") {
			if cmd.Flags().Changed("reason") {
				return errors.New("say what is to be different: --file FILE; without it and without --reason the request is shown")
			}
			return showRequest(cmd, args[0])
		}
		decided, err := decide(args[0])
		if err != nil {
			return err
		}
		patch, err := readPatch(cmd.InOrStdin(), *file)
		if err != nil {
			return err
		}
		return withSite(cmd.Context(), func(s *site, _ pending.View) error {
			request := txn.Request{Operation: "replace-transaction", Actor: decided.by}
			d, receipt, err := buffer.ReplaceDeadLetter(cmd.Context(), s.writer, s.catalog, s.observations().Editor(), request, decided.about, decided.why, patch)
			if err != nil {
				return withFields(err)
			}
			s.decidedBy(cmd.Context(), decided.by, "dead_letter.replace", decided.about.String(), map[string]any{"reason": decided.why, "replaced_by": receipt.TransactionID.String()})
			return printDecision(cmd.OutOrStdout(), *asJSON, d)
		})
	}
	return cmd
}

// withFields adds to a refusal which parts of the request it is about.
func withFields(err error) error {
	var p *problem.Problem
	if !errors.As(err, &p) {
		return err
	}
	for _, f := range p.Errors {
		err = fmt.Errorf("%w\n%s: %s", err, f.Location, f.Message)
	}
	return err
}

// showRequest prints what there is to edit of a dead letter.
func showRequest(cmd *cobra.Command, id string) error {
	return withSite(cmd.Context(), func(s *site, view pending.View) error {
		tx, err := pendingTransaction(view, id)
		if err != nil {
			return err
		}
		if !tx.State.Dead() {
			return buffer.NotADeadLetter.New("the transaction is %s", tx.State)
		}
		whole, err := tx.Transaction()
		if err != nil {
			return err
		}
		request, err := s.observations().Editor().Request(whole)
		if err != nil {
			return err
		}
		if request == nil {
			return buffer.NotEditable.New("it is a %s", tx.Operation)
		}
		return printJSON(cmd.OutOrStdout(), request)
	})
}

func readPatch(stdin io.Reader, file string) (patch json.RawMessage, err error) {
	if file == "-" {
		patch, err = io.ReadAll(stdin)
	} else {
		patch, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(patch) {
		return nil, fmt.Errorf("%s holds no JSON document", file)
	}
	return patch, nil
}

func printDecision(w io.Writer, asJSON bool, d buffer.DeadLetterDecision) error {
	if asJSON {
		return printJSON(w, d)
	}
	by := ""
	if d.ReplacedBy != nil {
		by = " by " + d.ReplacedBy.String()
	}
	_, err := fmt.Fprintf(w, "%s is %s%s (%s: %s)\n", d.TransactionID, d.Outcome, by, d.Actor, d.Reason)
	return err
}

func transactionID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, fmt.Errorf("%q is no id of a transaction: %w", text, err)
	}
	return id, nil
}

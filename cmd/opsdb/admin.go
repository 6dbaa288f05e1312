package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/transfers"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// withAdmin hands fn what changes users, tokens and keys on the primary. The main site's audit log is told of each
// change, and that the command line's user has made it.
func withAdmin(cmd *cobra.Command, url string, fn func(ctx context.Context, admin *auth.Admin) error) error {
	ctx := cmd.Context()
	url, err := primaryURL(url)
	if err != nil {
		return err
	}
	actor, err := shellActor()
	if err != nil {
		return err
	}
	options := pg.Options{ApplicationName: "opsdb-admin", MaxConns: 2}
	primary, err := pg.OpenWriter(ctx, url, options)
	if err != nil {
		return err
	}
	defer primary.Close()
	reading, err := pg.OpenReader(ctx, url, options)
	if err != nil {
		return err
	}
	defer reading.Close()

	admin := auth.NewAdmin(primary)
	id, name, err := transfers.MainSite(ctx, reading)
	switch {
	case errors.Is(err, transfers.ErrUnknownSite):
		if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "there is no main site yet (opsdb site add --main), so no audit log that this could be told"); err != nil {
			return err
		}
		return fn(ctx, admin)
	case err != nil:
		return err
	}
	catalog, err := txn.NewCatalog(auth.RecordEvent{})
	if err != nil {
		return err
	}
	problems, err := problem.NewCatalog(problemSets...)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log := auth.NewLog(auth.LogConfig{Site: name, Logger: logger, Writer: txn.NewDirect(txn.DirectConfig{
		Pool: primary, Reader: pending.NewReader(reading, nil, name, pending.Limits{Check: checksOnce}), Catalog: catalog, Problems: problems,
		Site: name, SiteID: id, Logger: logger,
	})})
	return fn(ctx, admin.Audited(log, actor))
}

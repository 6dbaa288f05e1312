// Command opsdb is the whole product: the API server of a site, and what its
// operators need beside it. One file a subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// commands makes the subcommands. A file that adds one puts its constructor here;
// nothing registers itself.
var commands = []func() *cobra.Command{
	newServeCommand,
	newMigrateCommand,
	newSiteCommand,
	newKeysCommand,
	newUserCommand,
	newRoleCommand,
	newTokenCommand,
	newLoginCommand,
	newLogoutCommand,
	newAuditCommand,
	newSeedCommand,
	newBufferCommand,
	newDemoCommand,
	newConfigCommand,
	newDoctorCommand,
	newBenchCommand,
	newChaosCommand,
	newOpenAPICommand,
	newProblemsCommand,
	newVersionCommand,
}

// exitError ends the process with a code of its own; its command has said why.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	os.Exit(run())
}

// run executes one command line. The first SIGINT or SIGTERM ends the command's
// context, so that it can finish in order; a second one ends the process at once.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130
	}
	fmt.Fprintln(os.Stderr, "opsdb:", err)
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "opsdb",
		Short: "Operations database of a telescope",
		Long: `opsdb is the HTTP API in front of the operations database, at every site of the
telescope. The same binary migrates and seeds the database, manages users and
tokens, and shows what a site's buffer holds.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	for _, command := range commands {
		root.AddCommand(command())
	}
	return root
}

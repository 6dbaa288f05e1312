// Command opsdb is the whole product: the API server of a site, and what its
// operators need beside it. One file a subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
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
	text := err.Error()
	if unreachable := (*pgconn.ConnectError)(nil); errors.As(err, &unreachable) {
		text = oneLine(text)
	}
	fmt.Fprintln(os.Stderr, "opsdb:", text)
	return 1
}

// oneLine puts together what pgx tells of each address on a line of its own.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\t' }), "; ")
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
	strict(root)
	return root
}

// strict makes a mistyped command an error where cobra would print the help of its group and be content, so that
// `opsdb migrate upp && opsdb serve` does not serve; and wrong arguments are told with the usage.
func strict(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
	if cmd.HasParent() && !cmd.Runnable() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
}

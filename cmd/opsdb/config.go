package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/config"
)

// newConfigCommand returns `opsdb config`, which prints the effective settings.
func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective settings, secrets hidden, or all that is wrong with them",
		Args:  cobra.NoArgs,
	}
	asJSON, markdown := jsonFlag(cmd), false
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the table of docs/configuration.md instead")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if markdown {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.Markdown())
			return err
		}
		c, err := config.Load()
		if err != nil {
			return err
		}
		if *asJSON {
			values := map[string]string{}
			for _, s := range c.Settings() {
				values[s.Name] = s.Value
			}
			return printJSON(cmd.OutOrStdout(), values)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, s := range c.Settings() {
			value := s.Value
			if strings.TrimSpace(value) == "" {
				value = "(empty)"
			}
			fmt.Fprintf(w, "%s\t%s\n", s.Name, value)
		}
		return w.Flush()
	}
	return cmd
}

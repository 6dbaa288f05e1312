package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/api"
)

// newOpenAPICommand returns `opsdb openapi`, which prints the API's document with
// nothing running and nothing configured.
func newOpenAPICommand() *cobra.Command {
	var old, asJSON, check bool
	cmd := &cobra.Command{
		Use:   "openapi",
		Short: "Print the OpenAPI document, 3.1 as YAML",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			router, err := describe()
			if err != nil {
				return err
			}
			document := router.OpenAPI()
			out := cmd.OutOrStdout()
			if check {
				violations := api.CheckDocument(document)
				for _, violation := range violations {
					if _, err := fmt.Fprintln(out, violation); err != nil {
						return err
					}
				}
				if len(violations) > 0 {
					return fmt.Errorf("the document breaks %d rules for generated clients", len(violations))
				}
				return nil
			}
			var text []byte
			switch {
			case old && asJSON:
				text, err = document.Downgrade()
			case old:
				text, err = document.DowngradeYAML()
			case asJSON:
				text, err = json.MarshalIndent(document, "", "  ")
			default:
				text, err = document.YAML()
			}
			if err != nil {
				return fmt.Errorf("writing the document: %w", err)
			}
			_, err = out.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&old, "3.0", false, "OpenAPI 3.0, for older generators")
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON instead of YAML")
	cmd.Flags().BoolVar(&check, "check", false, "print what breaks the rules for generated clients instead")
	return cmd
}

package main

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/transfers"
)

// newSiteCommand returns `opsdb site`, which tells the primary of a new site before its server starts there.
func newSiteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "site",
		Short: "Tell the primary of a new site",
		Args:  cobra.NoArgs,
	}
	url := primaryFlag(cmd)

	var site transfers.NewSite
	var latitude, longitude float64
	add := &cobra.Command{
		Use:   "add SHORT_NAME",
		Short: "Add a site; one that is there already stays as it is",
		Long: `Add a site to the primary, with the row that numbers its commits. A secondary
site's server does not start before its replica shows both. SHORT_NAME becomes
the site's SITE_NAME and part of every key in its Redis: it never changes.`,
		Example: `  opsdb site add cologne --main --name Cologne --location "University of Cologne, Germany"
  opsdb site add observatory --name "CCAT observatory" --location "Cerro Chajnantor, Chile"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			site.ShortName = args[0]
			if site.Name == "" {
				site.Name = args[0]
			}
			if cmd.Flags().Changed("latitude") {
				site.LatitudeDeg = &latitude
			}
			if cmd.Flags().Changed("longitude") {
				site.LongitudeDeg = &longitude
			}
			return withPrimary(cmd.Context(), *url, func(conn *pgx.Conn) error {
				added, err := transfers.AddSite(cmd.Context(), conn, site)
				if err != nil {
					return err
				}
				said := "is there already"
				if added {
					said = "is added"
				}
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "site %s %s\n", site.ShortName, said)
				return err
			})
		},
	}
	add.Flags().StringVar(&site.Name, "name", "", "the name to show (default: SHORT_NAME)")
	add.Flags().StringVar(&site.Location, "location", "", "where it is")
	add.Flags().BoolVar(&site.Main, "main", false, "the main site, of which there is one")
	add.Flags().Float64Var(&latitude, "latitude", 0, "degrees, north is positive")
	add.Flags().Float64Var(&longitude, "longitude", 0, "degrees, east is positive")
	cmd.AddCommand(add)
	return cmd
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/config"
)

// connectTimeout is how long a command waits for the primary, which may be on another continent.
const connectTimeout = 15 * time.Second

// primaryFlag adds the flag --url to a command and all below it.
func primaryFlag(cmd *cobra.Command) *string {
	var url string
	cmd.PersistentFlags().StringVar(&url, "url", "", "connection URL of the primary (default: MAIN_DB_URL, or MAIN_DB_HOST and its like)")
	return &url
}

// primaryURL is where a command finds the primary: what its flag says, else the settings.
func primaryURL(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	url, err := config.MainURL()
	if err != nil {
		return "", err
	}
	if url == "" {
		return "", errors.New("--url, MAIN_DB_URL or MAIN_DB_HOST must name the primary")
	}
	return url, nil
}

// withPrimary hands a connection to the primary at url to fn and closes it afterwards.
func withPrimary(ctx context.Context, url string, fn func(*pgx.Conn) error) (err error) {
	if url, err = primaryURL(url); err != nil {
		return err
	}
	options, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("reading the URL of the primary: %w", err)
	}
	options.ConnectTimeout = connectTimeout
	conn, err := pgx.ConnectConfig(ctx, options)
	if err != nil {
		return fmt.Errorf("connecting to the primary: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return fn(conn)
}

// jsonFlag adds the flag --json to a command and all below it.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.PersistentFlags().Bool("json", false, "print JSON, for programs")
}

// printJSON prints a value for programs.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// when prints a time that may be missing, for people.
func when(t *time.Time, missing string) string {
	if t == nil {
		return missing
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

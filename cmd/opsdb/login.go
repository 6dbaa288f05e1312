package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/problem"
)

// storedLogin is what `opsdb login` keeps in the user's own folder.
type storedLogin struct {
	URL     string    `json:"url"`
	Token   string    `json:"access_token"`
	Expires time.Time `json:"expires_at"`
	// Cookie is the refresh cookie, `name=value`.
	Cookie string `json:"refresh_cookie"`
}

// newLoginCommand returns `opsdb login`, with which a person logs in from a terminal.
func newLoginCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "login --url URL",
		Short: "Log in to a site with GitHub, from a terminal",
		Long: `Log in to the API of a site with GitHub: open the address that is shown in any
browser, enter the code, and the terminal is logged in for seven days. What it
needs is kept in opsdb/login.json of the user's configuration folder, readable
by the owner alone. Scripts and instruments use API tokens instead.`,
		Example: `  opsdb login --url https://opsdb.example.org
  curl https://opsdb.example.org/auth/me -H "Authorization: Bearer $(opsdb login token)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := siteAddress(address)
			if err != nil {
				return err
			}
			return login(cmd.Context(), loginClient{base: base}, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&address, "url", os.Getenv("OPSDB_URL"), "address of the site's API (default: OPSDB_URL)")
	cmd.AddCommand(&cobra.Command{
		Use:   "token",
		Short: "Print an access token of the login, a new one when the last is nearly over",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stored, err := readLogin()
			if err != nil {
				return err
			}
			if time.Until(stored.Expires) < time.Minute {
				client := loginClient{base: stored.URL, cookie: stored.Cookie}
				var answer auth.AccessToken
				if err := client.post(cmd.Context(), "/auth/refresh", nil, &answer); err != nil {
					return fmt.Errorf("refreshing the login: %w", err)
				}
				// Without another cookie a process beside this one has it, and keeps it: to keep the old one over that
				// would look like theft at the next refresh.
				renewed := client.cookie != stored.Cookie
				stored.Token, stored.Expires, stored.Cookie = answer.Token, answer.ExpiresAt, client.cookie
				if renewed {
					if err := stored.keep(); err != nil {
						return err
					}
				}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), stored.Token)
			return err
		},
	})
	return cmd
}

// newLogoutCommand returns `opsdb logout`, which ends what login began.
func newLogoutCommand() *cobra.Command {
	var everywhere bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "End the login of this terminal",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stored, err := readLogin()
			if err != nil {
				return err
			}
			client := loginClient{base: stored.URL, cookie: stored.Cookie}
			err = client.post(cmd.Context(), "/auth/logout", map[string]bool{"everywhere": everywhere}, nil)
			var refused *refusal
			if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
				err = nil // it has ended by itself
			}
			if err != nil {
				return fmt.Errorf("the login goes on, and is kept: %w", err)
			}
			path, err := loginFile()
			if err != nil {
				return err
			}
			return os.Remove(path)
		},
	}
	cmd.Flags().BoolVar(&everywhere, "everywhere", false, "end all sessions of the user at that site")
	return cmd
}

// siteAddress checks where a login would send its secrets.
func siteAddress(address string) (string, error) {
	u, err := url.Parse(address)
	if address == "" || err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("--url or OPSDB_URL must name the site's API, as https://opsdb.example.org")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return "", errors.New("a login needs https: its secrets would cross the network for everybody to read")
	}
	return strings.TrimRight(address, "/"), nil
}

// login walks the device flow and keeps what it gives.
func login(ctx context.Context, client loginClient, out io.Writer) error {
	var begun auth.DeviceLogin
	if err := client.post(ctx, "/github/device", nil, &begun); err != nil {
		return fmt.Errorf("beginning the login: %w", err)
	}
	if _, err := fmt.Fprintf(out, "Open %s and enter %s\n", begun.VerificationURI, begun.UserCode); err != nil {
		return err
	}
	pause := time.Duration(begun.Interval) * time.Second
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		var answer auth.AccessToken
		err := client.post(ctx, "/github/device/token", auth.DeviceCode{DeviceCode: begun.DeviceCode}, &answer)
		var refused *loginRefusal
		switch {
		case err == nil:
			stored := storedLogin{URL: client.base, Token: answer.Token, Expires: answer.ExpiresAt, Cookie: client.cookie}
			if err := stored.keep(); err != nil {
				return err
			}
			_, err := fmt.Fprintln(out, "You are logged in.")
			return err
		case errors.As(err, &refused) && refused.code == "authorization-pending":
		case errors.As(err, &refused) && (refused.status == http.StatusTooManyRequests || refused.status == http.StatusServiceUnavailable):
			pause += 5 * time.Second
		default:
			return fmt.Errorf("logging in: %w", err)
		}
	}
}

// loginRefusal is an answer that is no success, with the problem's code.
type loginRefusal struct {
	refusal
	code string
}

// Unwrap lets errors.As find what every client of the API knows.
func (r *loginRefusal) Unwrap() error { return &r.refusal }

// loginClient calls the operations of sessions; it has one cookie.
type loginClient struct {
	base   string
	cookie string // name=value
}

// loginHTTP follows no redirect: it would carry a device's code or a cookie to wherever that leads.
var loginHTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (c *loginClient) post(ctx context.Context, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body := ""
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = string(text)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "opsdb/"+version())
	if c.cookie != "" {
		request.Header.Set("Cookie", c.cookie)
	}
	response, err := loginHTTP.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		var p problem.Problem
		if err := json.Unmarshal(answer, &p); err != nil {
			return fmt.Errorf("the answer %d is none of opsdb", response.StatusCode)
		}
		return &loginRefusal{refusal{response.StatusCode, p.Error()}, p.Code()}
	}
	for _, cookie := range response.Cookies() {
		if cookie.Value != "" {
			c.cookie = cookie.Name + "=" + cookie.Value
		}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

func loginFile() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's configuration folder: %w", err)
	}
	return filepath.Join(folder, "opsdb", "login.json"), nil
}

// readLogin reads what login has kept. A file that others may read is refused: so may be what it holds.
func readLogin() (storedLogin, error) {
	path, err := loginFile()
	if err != nil {
		return storedLogin{}, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return storedLogin{}, errors.New("nobody is logged in here: opsdb login --url URL")
	}
	if err != nil {
		return storedLogin{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return storedLogin{}, fmt.Errorf("others may read %s: log out everywhere, and in again", path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return storedLogin{}, err
	}
	var stored storedLogin
	if err := json.Unmarshal(content, &stored); err != nil {
		return storedLogin{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return stored, nil
}

// keep replaces the file in one step: a refresh token that is half written would be lost.
func (l storedLogin) keep() error {
	path, err := loginFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	content, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	aside, err := os.CreateTemp(filepath.Dir(path), "login-*") // for its owner alone
	if err != nil {
		return err
	}
	_, err = aside.Write(append(content, '\n'))
	if err = errors.Join(err, aside.Close()); err == nil {
		err = os.Rename(aside.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping the login: %w", err), os.Remove(aside.Name()))
	}
	return nil
}

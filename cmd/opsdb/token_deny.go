package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn"
)

// newTokenDenyCommand returns `opsdb token deny`, for an emergency at a site whose link is cut.
func newTokenDenyCommand() *cobra.Command {
	var subject auth.Subject
	var reason string
	var lift, list bool
	cmd := &cobra.Command{
		Use:   "deny (--user NAME | --token ID | --session ID) --reason TEXT [--lift] | deny --list",
		Short: "Refuse a user, token or session at this secondary site now, and at main once the link is back",
		Long: `Refuse a user, an API token or a session at this secondary site, within a second
and whatever its replica says. The revocation at main is buffered: it is applied
once the link is back. A session is this site's alone, and ends. The settings are
those of the server (SITE_NAME, REDIS_URL …). --lift takes a refusal back at this
site alone: what is buffered by then is revoked at main all the same. --list shows
who is refused, since when, by whom and why.

While the link is up, deactivate the user or revoke the token at main instead.`,
		Example: `  opsdb token deny --user mallory --reason 'laptop stolen'
  opsdb token deny --token 17 --reason 'found in a public repository'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			named := 0
			for _, given := range []bool{subject.Username != "", subject.TokenID != 0, subject.SessionID != ""} {
				if given {
					named++
				}
			}
			if list {
				if named > 0 || lift || reason != "" {
					return errors.New("--list stands alone")
				}
				return withSite(cmd.Context(), func(s *site, _ pending.View) error { return listDenied(cmd.Context(), s, cmd.OutOrStdout()) })
			}
			if named != 1 {
				return errors.New("name one of --user, --token and --session")
			}
			actor, err := shellActor()
			if err != nil {
				return err
			}
			if reason = strings.TrimSpace(reason); reason == "" {
				return errors.New("say why: --reason TEXT")
			}
			if lift {
				return withSite(cmd.Context(), func(s *site, _ pending.View) error {
					there, err := s.store.Admit(cmd.Context(), subject.String())
					if err == nil && !there {
						err = fmt.Errorf("%s is not denied here", subject)
					}
					if err == nil {
						s.audited(cmd.Context(), "credential.admit", subject, actor, reason)
					}
					return err
				})
			}
			if _, err := uuid.Parse(subject.SessionID); subject.SessionID != "" && err != nil {
				return fmt.Errorf("nobody is denied: --session %q is no UUID", subject.SessionID)
			}
			if subject.TokenID < 0 {
				return fmt.Errorf("nobody is denied: --token %d is no id", subject.TokenID)
			}
			return withSite(cmd.Context(), func(s *site, _ pending.View) error { return deny(cmd.Context(), s, subject, actor, reason) })
		},
	}
	cmd.Flags().StringVar(&subject.Username, "user", "", "every credential of this user")
	cmd.Flags().Int64Var(&subject.TokenID, "token", 0, "the API token of this id (opsdb token list --url REPLICA)")
	cmd.Flags().StringVar(&subject.SessionID, "session", "", "the session of this id")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	cmd.Flags().BoolVar(&lift, "lift", false, "take the refusal back at this site")
	cmd.Flags().BoolVar(&list, "list", false, "show who is refused at this site")
	return cmd
}

// listDenied prints the deny-list, one subject a line.
func listDenied(ctx context.Context, s *site, w io.Writer) error {
	denied, err := s.store.Denied(ctx)
	if err != nil {
		return err
	}
	for _, subject := range slices.Sorted(maps.Keys(denied)) {
		if _, err := fmt.Fprintf(w, "%s  %s\n", subject, oneLine(denied[subject])); err != nil {
			return err
		}
	}
	return nil
}

// audited tells the site's audit log what was decided about a subject, through the buffer; what it cannot keep it prints.
func (s *site) audited(ctx context.Context, action string, subject auth.Subject, actor, reason string) {
	s.audit.Record(ctx, auth.Event{Action: action, Detail: map[string]any{"subject": subject.String(), "actor": actor, "reason": reason}})
}

// deny refuses a subject here first: main may be told whenever the link is back.
func deny(ctx context.Context, s *site, subject auth.Subject, actor, reason string) error {
	revoke := auth.Revoke{TokenID: subject.TokenID}
	var unread error // why the replica does not say who the user is
	if subject.Username != "" {
		revoke.UserID, unread = auth.UserID(ctx, s.local, subject.Username)
		// Of somebody whom the replica does not know nothing is accepted here; a mistyped name would only look like success.
		if errors.Is(unread, auth.ErrUserUnknown) {
			return fmt.Errorf("nobody is denied: %w (names are told apart by the case of letters)", unread)
		}
	}
	note := time.Now().UTC().Format(time.RFC3339) + " " + actor + ": " + reason
	if err := s.store.Deny(ctx, subject.String(), note); err != nil {
		return err
	}
	s.audited(ctx, "credential.deny", subject, actor, reason)
	if subject.SessionID != "" {
		session, err := s.store.Session(ctx, subject.SessionID)
		if err != nil {
			return err
		}
		if session == nil {
			return fmt.Errorf("%s is denied here; but this site has no such session: is the id right?", subject)
		}
		return s.store.EndSession(ctx, subject.SessionID)
	}
	if subject.Username != "" {
		if unread != nil {
			return fmt.Errorf("%s is denied here; main is not told, since the replica does not say who that is: %w", subject, unread)
		}
		if err := s.store.EndSessions(ctx, revoke.UserID); err != nil {
			return err
		}
	}
	_, err := s.writer.Write(ctx, txn.Request{Operation: "deny-credential", Actor: actor}, func(_ context.Context, tx *txn.Builder) error {
		tx.Exempt()
		revoke.At = tx.Now()
		tx.Add(revoke)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s is denied here; the revocation at main is not buffered: %w", subject, err)
	}
	if subject.TokenID != 0 {
		// A token that was made just before the cut is not in the replica; nor is one whose id was mistyped.
		if there, err := auth.HasTokenID(ctx, s.local, subject.TokenID); err == nil && !there {
			return fmt.Errorf("%s is denied here, and main will revoke it; but the replica shows no such token: is the id right?", subject)
		}
	}
	return nil
}

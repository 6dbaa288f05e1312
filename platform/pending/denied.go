package pending

import (
	"context"
)

// Deny puts a subject on the site's list of those whose credentials are refused here, whatever the replica says of them:
// user:<name>, token:<id> or session:<id>. The note says who did it and why.
func (s *Store) Deny(ctx context.Context, subject, note string) error {
	if err := s.client.HSet(ctx, s.prefix+"denied", subject, note).Err(); err != nil {
		return s.unavailable("denying a credential", err)
	}
	return nil
}

// Admit takes a subject off the list; false when it is not on it.
func (s *Store) Admit(ctx context.Context, subject string) (bool, error) {
	gone, err := s.client.HDel(ctx, s.prefix+"denied", subject).Result()
	if err != nil {
		return false, s.unavailable("admitting a credential", err)
	}
	return gone == 1, nil
}

// Denied returns the list with its notes.
func (s *Store) Denied(ctx context.Context) (map[string]string, error) {
	denied, err := s.client.HGetAll(ctx, s.prefix+"denied").Result()
	if err != nil {
		return nil, s.unavailable("reading who is denied", err)
	}
	return denied, nil
}

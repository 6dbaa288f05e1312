package sandbox

import (
	"context"
	"crypto/rand"

	opsdbsql "github.com/opsdb/opsdb/sql"
)

// site is the short name of the stack's secondary site.
const site = "observatory"

// roleSecrets are the passwords of the unprivileged roles.
type roleSecrets struct {
	Main      string `json:"main"`
	Processor string `json:"processor"`
	Reader    string `json:"reader"`
}

func newRoleSecrets() roleSecrets {
	return roleSecrets{Main: rand.Text(), Processor: rand.Text(), Reader: rand.Text()}
}

// logins are the roles of an installation with one secondary site, with the
// stack's passwords.
func (s *Stack) logins() opsdbsql.Logins {
	logins := opsdbsql.DefaultLogins(site)
	logins.Main.Password = s.secrets.Roles.Main
	logins.Sites[0].Processor.Password = s.secrets.Roles.Processor
	logins.Sites[0].Reader.Password = s.secrets.Roles.Reader
	// The replica streams as this one already.
	logins.Sites[0].Replication.Password = s.secrets.Replication
	return logins
}

// Grant makes the unprivileged roles and gives them their rights in a migrated
// database.
func (s *Stack) Grant(ctx context.Context, database string) error {
	return s.Primary.Exec(ctx, database, opsdbsql.Grants(s.logins()))
}

// MainURL is the primary for the main site's API servers, as their unprivileged
// role; it needs Grant.
func (s *Stack) MainURL(database string) string {
	login := s.logins().Main
	return s.mainURL(database, login.Name, login.Password, nil)
}

// ProcessorURL is the primary for the observatory's processor and direct writes,
// through the link and as an unprivileged role; it needs Grant.
func (s *Stack) ProcessorURL(database string) string {
	login := s.logins().Sites[0].Processor
	return s.mainURL(database, login.Name, login.Password, s.Link.lines(DatabaseLine))
}

// ReaderURL is the replica for the observatory's API servers, as an
// unprivileged role; it needs Grant.
func (s *Stack) ReaderURL(database string) string {
	login := s.logins().Sites[0].Reader
	return s.Replica.url(database, login.Name, login.Password, s.Replica.Port)
}

package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/opsdb/opsdb/platform/problem"
)

const (
	// githubPatience is how long one question may take, and githubAnswer how much of an answer is read.
	githubPatience = 8 * time.Second
	githubAnswer   = 1 << 20
	// githubTeamPages bounds how many hundreds of a person's teams are looked at.
	githubTeamPages = 10
	// githubScope is all that is asked for: to see memberships.
	githubScope = "read:org"
)

// GitHubOptions says which OAuth application of which GitHub people log in with.
type GitHubOptions struct {
	ClientID, ClientSecret string
	// Organisation is the one whose members may log in.
	Organisation string
	// TeamRoles gives the members of a team of it (by slug) a role.
	TeamRoles map[string]string
	// BaseURL and APIURL are GitHub's addresses; empty ones are github.com's.
	BaseURL, APIURL string
	// CallbackURL is where GitHub sends people back to, exactly as it is registered there.
	CallbackURL string
	// Patience is how long one question may take; zero is 8 s.
	Patience time.Duration
	Logger   *slog.Logger
}

// GitHub asks GitHub who somebody is. A person's token is used for that and forgotten: it is stored nowhere.
type GitHub struct {
	organisation string
	teamRoles    map[string]string
	api          string
	oauth        oauth2.Config
	client       *http.Client
	logger       *slog.Logger
}

// GitHubPerson is what GitHub says of who logs in.
type GitHubPerson struct {
	ID        int64
	Login     string
	Name      string
	Email     *string
	AvatarURL string
	Roles     []string // those of the teams
}

// NewGitHub returns the GitHub of o.
func NewGitHub(o GitHubOptions) *GitHub {
	base, api := strings.TrimRight(o.BaseURL, "/"), strings.TrimRight(o.APIURL, "/")
	if base == "" {
		base = "https://github.com"
	}
	if api == "" {
		api = "https://api.github.com"
	}
	if o.Patience == 0 {
		o.Patience = githubPatience
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &GitHub{
		organisation: o.Organisation, teamRoles: o.TeamRoles, api: api, logger: o.Logger,
		oauth: oauth2.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret, RedirectURL: o.CallbackURL, Scopes: []string{githubScope},
			Endpoint: oauth2.Endpoint{
				AuthURL: base + "/login/oauth/authorize", TokenURL: base + "/login/oauth/access_token", DeviceAuthURL: base + "/login/device/code",
				AuthStyle: oauth2.AuthStyleInParams,
			},
		},
		client: &http.Client{
			Timeout:   o.Patience,
			Transport: bounded{http.DefaultTransport},
			// A redirect could carry a secret to another address.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// bounded cuts answers off that are longer than any of GitHub's, and asks for JSON.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Accept", "application/json")
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, githubAnswer), response.Body}
	return response, nil
}

// authorizeURL is where a browser is sent to log in.
func (g *GitHub) authorizeURL(state, verifier string) string {
	return g.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier))
}

// exchange turns the code of a callback into who came back.
func (g *GitHub) exchange(ctx context.Context, code, verifier string) (GitHubPerson, error) {
	token, err := g.oauth.Exchange(g.with(ctx), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return GitHubPerson{}, g.refused(ctx, "exchanging the code of a login", err)
	}
	return g.person(ctx, token.AccessToken)
}

// beginDevice begins a login on a device without a browser.
func (g *GitHub) beginDevice(ctx context.Context) (*oauth2.DeviceAuthResponse, error) {
	began, err := g.oauth.DeviceAuth(g.with(ctx))
	if err != nil {
		return nil, g.refused(ctx, "beginning a login of a device", err)
	}
	if began.DeviceCode == "" || began.UserCode == "" || webAddress(began.VerificationURI) != nil {
		return nil, g.refused(ctx, "beginning a login of a device", errors.New("the answer has no codes"))
	}
	return began, nil
}

// pollDevice asks once who has confirmed a device's login.
func (g *GitHub) pollDevice(ctx context.Context, deviceCode string) (GitHubPerson, error) {
	config := g.oauth
	config.RedirectURL = ""
	token, err := config.Exchange(g.with(ctx), "",
		oauth2.SetAuthURLParam("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), oauth2.SetAuthURLParam("device_code", deviceCode))
	if err != nil {
		return GitHubPerson{}, g.refused(ctx, "asking for a device's login", err)
	}
	return g.person(ctx, token.AccessToken)
}

func (g *GitHub) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, g.client)
}

// refused is the problem of an OAuth request that gave no token. What GitHub wrote stays in the log, and of that only its
// error code.
func (g *GitHub) refused(ctx context.Context, doing string, err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.ErrorCode == "" || len(answer.ErrorCode) > 64 || answer.Response != nil && answer.Response.StatusCode >= 500 {
		var address *url.Error
		if errors.As(err, &address) {
			err = address.Err // the address may hold a code
		}
		if answer != nil {
			err = fmt.Errorf("status %d", answer.Response.StatusCode) // the body may hold anything
		}
		g.logger.WarnContext(ctx, doing, "error", err)
		return githubUnreachable.New("GitHub does not answer as it should")
	}
	switch answer.ErrorCode {
	case "authorization_pending":
		return authorizationPending.New("nobody has confirmed the login yet")
	case "slow_down":
		return problem.TooManyRequests.New("ask for the login less often")
	case "expired_token", "token_expired":
		return loginExpired.New("the login was not confirmed in time")
	}
	g.logger.WarnContext(ctx, doing, "refused", answer.ErrorCode)
	return loginRefused.New("GitHub has not confirmed the login")
}

// person asks who a token belongs to, and whether that is a member of the organisation.
func (g *GitHub) person(ctx context.Context, token string) (GitHubPerson, error) {
	var user struct {
		ID        int64   `json:"id"`
		Login     string  `json:"login"`
		Name      *string `json:"name"`
		Email     *string `json:"email"`
		AvatarURL string  `json:"avatar_url"`
	}
	if _, err := g.get(ctx, token, g.api+"/user", &user); err != nil {
		return GitHubPerson{}, err
	}
	if user.ID <= 0 || !githubLogin(user.Login) {
		g.logger.WarnContext(ctx, "GitHub names nobody", "id", user.ID)
		return GitHubPerson{}, githubUnreachable.New("GitHub does not answer as it should")
	}
	var membership struct {
		State string `json:"state"`
	}
	found, err := g.get(ctx, token, g.api+"/user/memberships/orgs/"+url.PathEscape(g.organisation), &membership)
	if err != nil {
		return GitHubPerson{}, err
	}
	if !found || membership.State != "active" {
		return GitHubPerson{Login: user.Login}, notAMember.New("%s is not a member of the organisation whose members may log in", user.Login)
	}
	roles, err := g.roles(ctx, token)
	if err != nil {
		return GitHubPerson{}, err
	}
	person := GitHubPerson{ID: user.ID, Login: user.Login, Name: user.Login, Email: shown(user.Email, 320), AvatarURL: cut(user.AvatarURL, 500), Roles: roles}
	if name := shown(user.Name, 200); name != nil {
		person.Name = *name
	}
	return person, nil
}

// roles are those that the configured mapping gives for a person's teams of the organisation.
func (g *GitHub) roles(ctx context.Context, token string) ([]string, error) {
	roles := []string{}
	for page := 1; page <= githubTeamPages; page++ {
		var teams []struct {
			Slug         string `json:"slug"`
			Organization struct {
				Login string `json:"login"`
			} `json:"organization"`
		}
		found, err := g.get(ctx, token, fmt.Sprintf("%s/user/teams?per_page=100&page=%d", g.api, page), &teams)
		if err != nil {
			return nil, err
		}
		if !found {
			// Teams that cannot be read are not none: that would take the roles of all away.
			return nil, githubUnreachable.New("GitHub does not show the teams")
		}
		for _, team := range teams {
			role, mapped := g.teamRoles[team.Slug]
			if mapped && strings.EqualFold(team.Organization.Login, g.organisation) && !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
		if len(teams) < 100 {
			break
		}
	}
	slices.Sort(roles)
	return roles, nil
}

// get reads one resource of GitHub's API; false when GitHub shows the person no such thing.
func (g *GitHub) get(ctx context.Context, token, address string, into any) (found bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, fmt.Errorf("asking GitHub: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	status := 0
	response, err := g.client.Do(request)
	if err == nil {
		status = response.StatusCode
		if status == http.StatusOK {
			err = json.NewDecoder(response.Body).Decode(into)
		}
		err = errors.Join(err, response.Body.Close())
	}
	switch {
	case err == nil && status == http.StatusOK:
		return true, nil
	case err == nil && status == http.StatusNotFound:
		return false, nil
	case err == nil && status == http.StatusForbidden && response.Header.Get("X-RateLimit-Remaining") != "0" && response.Header.Get("Retry-After") == "":
		return false, nil // a person who may not see it is no member of it
	case err == nil && status == http.StatusUnauthorized:
		return false, loginRefused.New("GitHub has not confirmed the login")
	}
	g.logger.WarnContext(ctx, "asking GitHub", "path", request.URL.Path, "status", status, "error", err)
	return false, githubUnreachable.New("GitHub does not answer as it should")
}

// githubLogin tells whether a name is one of a GitHub account, which is a username here too.
func githubLogin(name string) bool {
	return len(name) > 0 && len(name) <= 39 && strings.Trim(name, base62Alphabet+"-_") == "" && name[0] != '-' && name[0] != '_'
}

// shown is a text that people may have written as they liked, nil for none.
func shown(text *string, longest int) *string {
	if text == nil {
		return nil
	}
	clean := strings.TrimSpace(cut(strings.ReplaceAll(strings.ToValidUTF8(*text, ""), "\x00", ""), longest))
	if clean == "" {
		return nil
	}
	return &clean
}

func cut(text string, longest int) string {
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "")
	}
	return text
}

// webAddress returns why a text is no address of a web page.
func webAddress(text string) error {
	u, err := url.Parse(text)
	if err == nil && (u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		return errors.New("no web address")
	}
	return err
}

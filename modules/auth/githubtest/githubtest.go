// Package githubtest is a stand-in for GitHub: the endpoints of its OAuth code flow and device flow and of its API that a
// login needs, as GitHub documents them, with people who exist here alone. Tests log in with it, and so does the demo, in
// any browser. It can be slow, broken, or say no.
package githubtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// The one OAuth application that the stand-in knows, and its one organisation.
const (
	ClientID     = "opsdb-stand-in"
	ClientSecret = "stand-in-secret"
	Organisation = "telescope"
)

// Person is somebody with an account.
type Person struct {
	ID       int64
	Login    string
	Name     string
	Outsider bool     // is no member of the organisation
	Teams    []string // of the organisation, by slug
}

// Mode is how the stand-in behaves.
type Mode string

// The modes.
const (
	Well    Mode = "well"
	Slow    Mode = "slow"    // takes Delay for every answer
	Down    Mode = "down"    // answers 502 with a page
	Refuses Mode = "refuses" // takes no code, as after a wrong client secret
	Endless Mode = "endless" // never stops answering
	Limits  Mode = "limits"  // the API answers 403 with a Retry-After, as GitHub's secondary rate limit
	Hides   Mode = "hides"   // shows nobody's teams (404)
	Moves   Mode = "moves"   // answers with a redirect to an address where all is well
)

// Server is the stand-in, an http.Handler. The API lies below /api, the rest as at github.com.
type Server struct {
	// Delay of the mode Slow.
	Delay time.Duration
	// DeviceInterval is how many seconds a device waits between two questions.
	DeviceInterval int

	mux       *http.ServeMux
	callbacks []string // registered, exact

	mu      sync.Mutex
	mode    Mode
	signed  string // who is signed in and has agreed before: nobody is asked
	people  []Person
	codes   map[string]*grant // by code, once
	tokens  map[string]string // login by token
	devices map[string]*grant // by device code
	asked   map[string]int    // requests by path
}

// grant is a code that a person has confirmed, or has not yet.
type grant struct {
	login     string
	challenge string
	redirect  string
	userCode  string
	denied    bool
}

// New returns a stand-in with people; callbacks are the addresses that the application has registered.
func New(people []Person, callbacks ...string) *Server {
	s := &Server{
		Delay: time.Minute, DeviceInterval: 1, mux: http.NewServeMux(), callbacks: callbacks, mode: Well, people: people,
		codes: map[string]*grant{}, tokens: map[string]string{}, devices: map[string]*grant{}, asked: map[string]int{},
	}
	s.mux.HandleFunc("GET /login/oauth/authorize", s.authorize)
	s.mux.HandleFunc("POST /login/oauth/authorize", s.confirm)
	s.mux.HandleFunc("POST /login/oauth/access_token", s.accessToken)
	s.mux.HandleFunc("POST /login/device/code", s.deviceCode)
	s.mux.HandleFunc("GET /login/device", s.device)
	s.mux.HandleFunc("POST /login/device", s.confirmDevice)
	s.mux.HandleFunc("GET /api/user", s.user)
	s.mux.HandleFunc("GET /api/user/memberships/orgs/{org}", s.membership)
	s.mux.HandleFunc("GET /api/user/teams", s.teams)
	s.mux.HandleFunc("PUT /mode/{mode}", func(_ http.ResponseWriter, r *http.Request) { s.Behave(Mode(r.PathValue("mode"))) })
	s.mux.HandleFunc("PUT /signed-in/{login}", func(_ http.ResponseWriter, r *http.Request) { s.SignIn(r.PathValue("login")) })
	return s
}

// SignIn makes the stand-in send browsers back at once, as GitHub does when somebody is signed in there and has agreed to
// the application before; "" asks again.
func (s *Server) SignIn(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed = login
}

// Behave changes the mode.
func (s *Server) Behave(mode Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

// Register adds an address to those that the application may be sent back to.
func (s *Server) Register(callback string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callbacks = append(s.callbacks, callback)
}

// Change replaces what is known of a person, found by id.
func (s *Server) Change(person Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people = append(slices.DeleteFunc(s.people, func(p Person) bool { return p.ID == person.ID }), person)
}

// Asked tells how many requests a path has had.
func (s *Server) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	mode := s.mode
	s.asked[r.URL.Path]++
	s.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/mode/") {
		mode = Well
	}
	switch mode {
	case Slow:
		select {
		case <-time.After(s.Delay):
		case <-r.Context().Done():
			return
		}
	case Down:
		http.Error(w, "<html>Unicorn! secret-of-the-stand-in</html>", http.StatusBadGateway)
		return
	case Limits, Hides:
		if mode == Limits && strings.HasPrefix(r.URL.Path, "/api/") {
			w.Header().Set("Retry-After", "60")
			answer(w, http.StatusForbidden, map[string]any{"message": "You have exceeded a secondary rate limit. secret-of-the-stand-in"})
			return
		}
		if mode == Hides && r.URL.Path == "/api/user/teams" {
			answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
			return
		}
	case Moves:
		if r.URL.Query().Get("moved") == "" {
			http.Redirect(w, r, r.URL.Path+"?moved=1", http.StatusTemporaryRedirect)
			return
		}
	case Endless:
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat(" ", 1<<16))
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	s.mux.ServeHTTP(w, r)
}

var page = template.Must(template.New("page").Parse(`<!doctype html><meta charset="utf-8"><title>Stand-in for GitHub</title>
<style>body{font:16px sans-serif;max-width:34em;margin:4em auto}button{font:inherit;margin:.2em;padding:.4em 1em}</style>
<h1>Stand-in for GitHub</h1><p>{{.Text}}</p>
{{if .People}}<form method="post">{{if .AskCode}}<p><label>Code <input name="user_code" value="{{.Code}}" required></label></p>{{end}}
{{range .People}}<button name="login" value="{{.Login}}" id="as-{{.Login}}">{{.Login}}</button>{{end}}
<button name="cancel" value="1" id="cancel" formnovalidate>Cancel</button></form>{{end}}`))

type pageContent struct {
	Text, Code string
	AskCode    bool
	People     []Person
}

func show(w http.ResponseWriter, status int, content pageContent) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Execute(w, content); err != nil {
		return // the browser is gone
	}
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		return // the client is gone
	}
}

func (s *Server) everybody() []Person {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.people)
}

func (s *Server) person(login string) (Person, bool) {
	for _, p := range s.everybody() {
		if p.Login == login {
			return p, true
		}
	}
	return Person{}, false
}

// authorize asks who logs in.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if why := s.wrongRequest(r.URL.Query()); why != "" {
		show(w, http.StatusNotFound, pageContent{Text: why})
		return
	}
	s.mu.Lock()
	signed := s.signed
	s.mu.Unlock()
	if signed != "" {
		s.back(w, r, signed)
		return
	}
	show(w, http.StatusOK, pageContent{Text: "An application wants to know who you are, and your teams of the organisation " + Organisation + ".", People: s.everybody()})
}

func (s *Server) wrongRequest(q url.Values) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case q.Get("client_id") != ClientID:
		return "There is no such application."
	case !slices.Contains(s.callbacks, q.Get("redirect_uri")):
		return "The redirect_uri is not associated with this application."
	case q.Get("state") == "" || q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256":
		return "The stand-in wants a state and PKCE with S256."
	case !slices.Contains(strings.Fields(q.Get("scope")), "read:org"):
		return "The application does not ask for read:org."
	}
	return ""
}

// confirm is what a person answers.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) {
	if why := s.wrongRequest(r.URL.Query()); why != "" {
		show(w, http.StatusNotFound, pageContent{Text: why})
		return
	}
	login := r.FormValue("login")
	if r.FormValue("cancel") != "" {
		login = ""
	}
	s.back(w, r, login)
}

// back sends the browser back with a code for a person, or with access_denied.
func (s *Server) back(w http.ResponseWriter, r *http.Request, login string) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		show(w, http.StatusNotFound, pageContent{Text: err.Error()})
		return
	}
	values := url.Values{"state": {q.Get("state")}}
	if _, known := s.person(login); !known {
		values.Set("error", "access_denied")
		values.Set("error_description", "The user has denied your application access.")
		values.Set("error_uri", "https://docs.github.com/apps/troubleshooting-authorization-request-errors/#access-denied")
	} else {
		code := rand.Text()
		s.mu.Lock()
		s.codes[code] = &grant{login: login, challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri")}
		s.mu.Unlock()
		values.Set("code", code)
	}
	back.RawQuery = values.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// accessToken gives a token for a code. As GitHub does, it answers 200 also when it says no.
func (s *Server) accessToken(w http.ResponseWriter, r *http.Request) {
	no := func(code string) {
		answer(w, http.StatusOK, map[string]any{"error": code, "error_description": "secret-of-the-stand-in", "error_uri": "https://docs.github.com"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.FormValue("client_id") != ClientID || s.mode == Refuses {
		no("incorrect_client_credentials")
		return
	}
	var login string
	switch r.FormValue("grant_type") {
	case "urn:ietf:params:oauth:grant-type:device_code":
		code := r.FormValue("device_code")
		g := s.devices[code]
		switch {
		case g == nil:
			no("incorrect_device_code")
			return
		case g.denied:
			no("access_denied")
			return
		case g.login == "":
			no("authorization_pending")
			return
		}
		delete(s.devices, code)
		login = g.login
	default:
		code := r.FormValue("code")
		g := s.codes[code]
		delete(s.codes, code)
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		switch {
		case r.FormValue("client_secret") != ClientSecret:
			no("incorrect_client_credentials")
			return
		case g == nil || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge:
			no("bad_verification_code")
			return
		case r.FormValue("redirect_uri") != g.redirect:
			no("redirect_uri_mismatch")
			return
		}
		login = g.login
	}
	token := "gho_" + rand.Text()
	s.tokens[token] = login
	answer(w, http.StatusOK, map[string]any{"access_token": token, "scope": "read:org", "token_type": "bearer"})
}

func (s *Server) deviceCode(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("client_id") != ClientID {
		answer(w, http.StatusNotFound, map[string]any{"error": "Not Found"})
		return
	}
	code, user := rand.Text(), rand.Text()
	user = user[:4] + "-" + user[4:8]
	s.mu.Lock()
	s.devices[code] = &grant{userCode: user}
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": user, "verification_uri": "http://" + r.Host + "/login/device", "expires_in": 899, "interval": s.DeviceInterval,
	})
}

func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	show(w, http.StatusOK, pageContent{Text: "Enter the code that your device shows.", AskCode: true, Code: r.URL.Query().Get("user_code"), People: s.everybody()})
}

func (s *Server) confirmDevice(w http.ResponseWriter, r *http.Request) {
	login := r.FormValue("login")
	_, known := s.person(login)
	s.mu.Lock()
	var found *grant
	for _, g := range s.devices {
		if g.userCode == r.FormValue("user_code") && g.login == "" {
			found = g
		}
	}
	if found != nil {
		found.denied = r.FormValue("cancel") != "" || !known
		if !found.denied {
			found.login = login
		}
	}
	s.mu.Unlock()
	if found == nil {
		show(w, http.StatusNotFound, pageContent{Text: "There is no such code."})
		return
	}
	show(w, http.StatusOK, pageContent{Text: "Your device may go on."})
}

// bearer is whose token the request has.
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) (Person, bool) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	login, known := s.tokens[token]
	s.mu.Unlock()
	if known {
		if person, there := s.person(login); there {
			return person, true
		}
	}
	answer(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials"})
	return Person{}, false
}

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.bearer(w, r); ok {
		answer(w, http.StatusOK, map[string]any{"id": p.ID, "login": p.Login, "name": p.Name, "email": nil, "avatar_url": "http://" + r.Host + "/avatar/" + p.Login})
	}
}

func (s *Server) membership(w http.ResponseWriter, r *http.Request) {
	p, ok := s.bearer(w, r)
	switch {
	case !ok:
	case p.Outsider || !strings.EqualFold(r.PathValue("org"), Organisation):
		answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
	default:
		answer(w, http.StatusOK, map[string]any{"state": "active", "role": "member", "organization": map[string]any{"login": Organisation}})
	}
}

// teams gives everybody a team of another organisation too, whose name must mean nothing.
func (s *Server) teams(w http.ResponseWriter, r *http.Request) {
	p, ok := s.bearer(w, r)
	if !ok {
		return
	}
	teams := []map[string]any{{"slug": "admins", "organization": map[string]any{"login": "elsewhere"}}}
	for _, slug := range p.Teams {
		teams = append(teams, map[string]any{"slug": slug, "organization": map[string]any{"login": Organisation}})
	}
	if r.URL.Query().Get("page") != "1" {
		teams = teams[:0]
	}
	answer(w, http.StatusOK, teams)
}

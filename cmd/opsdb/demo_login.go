package main

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/opsdb/opsdb/modules/auth/githubtest"
)

//go:embed demo_login.html
var loginPage []byte

// standIn is the demo's stand-in for GitHub, with the page where its logins end.
type standIn struct {
	url    string
	github *githubtest.Server
	server *http.Server
	failed chan error // why it serves no longer
}

// startStandIn begins to serve at a free port of this machine.
func startStandIn() (*standIn, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &standIn{url: "http://" + listener.Addr().String(), failed: make(chan error, 1), github: githubtest.New([]githubtest.Person{
		{ID: 1001, Login: "vera", Name: "Vera Rubin", Teams: []string{"observers"}},
		{ID: 1002, Login: "henrietta", Name: "Henrietta Leavitt", Teams: []string{"admins"}},
		{ID: 1003, Login: "edwin", Name: "Edwin Hubble", Outsider: true},
		// Of no team: what they may do is granted by hand.
		{ID: 1004, Login: "cecilia", Name: "Cecilia Payne"},
		{ID: 1005, Login: "jocelyn", Name: "Jocelyn Bell Burnell"},
		{ID: 1006, Login: "annie", Name: "Annie Jump Cannon"},
	})}
	mux := http.NewServeMux()
	mux.Handle("/", s.github)
	mux.HandleFunc("GET /console", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if _, err := w.Write(loginPage); err != nil {
			return // the browser is gone
		}
	})
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("the stand-in for GitHub ended: %w", err)
		}
	}()
	return s, nil
}

// page is where logins to an API server end, and begin.
func (s *standIn) page(api string) string { return s.url + "/console?api=" + url.QueryEscape(api) }

// env are the settings of an API server that people log in to with the stand-in.
func (s *standIn) env(api string) []string {
	s.github.Register(api + "/github/callback")
	return []string{
		"GITHUB_CLIENT_ID=" + githubtest.ClientID, "GITHUB_CLIENT_SECRET=" + githubtest.ClientSecret, "GITHUB_ORG_NAME=" + githubtest.Organisation,
		"GITHUB_TEAM_ROLE_MAPPING=observers:observer,admins:admin", "GITHUB_BASE_URL=" + s.url, "GITHUB_API_URL=" + s.url + "/api",
		"BACKEND_URL=" + api, "FRONTEND_URL=" + s.page(api), "CORS_ORIGINS=" + s.url,
	}
}

package api

import (
	"context"
	"net/http"

	"github.com/opsdb/opsdb/platform/problem"
)

// Cookie returns the value of a cookie of the request that ctx belongs to. One that the request has twice counts as none:
// another page of the same domain may have set the second.
func Cookie(ctx context.Context, name string) (value string, there bool) {
	st := stateOf(ctx)
	if st == nil || st.request == nil {
		return "", false
	}
	cookies := st.request.CookiesNamed(name)
	if len(cookies) != 1 || cookies[0].Value == "" {
		return "", false
	}
	return cookies[0].Value, true
}

// CheckOrigin refuses a request that a browser sends for a page of another origin than the server's own and those that
// trusted knows. Whatever acts on a cookie asks it: a browser adds cookies to any page's requests. What is no browser sends
// neither Origin nor Sec-Fetch-Site, and has no cookie that it does not know of.
func CheckOrigin(ctx context.Context, trusted *http.CrossOriginProtection) error {
	st := stateOf(ctx)
	if st == nil || st.request == nil {
		return nil
	}
	if err := trusted.Check(st.request); err != nil {
		return problem.Forbidden.New("the request comes from a page of another origin")
	}
	return nil
}

// UserAgent returns what the client calls itself, at most 200 bytes of it.
func UserAgent(ctx context.Context) string {
	st := stateOf(ctx)
	if st == nil || st.request == nil || CheckText(st.request.UserAgent()) != "" {
		return ""
	}
	agent := st.request.UserAgent()
	return agent[:min(len(agent), 200)]
}

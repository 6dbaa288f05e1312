package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestLoginOfOthers logs in to both sites with what knows nothing of opsdb: an OAuth and a JOSE library of npm, and a
// browser. `make setup-logins` installs them.
func TestLoginOfOthers(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run make setup-logins", err)
	}
	chromium, err := findChromium()
	if err != nil {
		t.Fatal(err)
	}
	d := startDemo(t, "--no-night")
	ready := d.ready()
	run := func(t *testing.T, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), node, args...)
		cmd.Dir = filepath.Join("..", "..", "tools", "logins")
		cmd.WaitDelay = 5 * time.Second
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("node %v: %v\n%s", args, err, out)
		}
		t.Logf("%s", out)
	}
	console := standIn{url: ready.GitHubURL}
	sites := []struct{ name, api, other, link string }{
		{mainSite, ready.MainURL, ready.ObservatoryURL, ""},
		{observatorySite, ready.ObservatoryURL, ready.MainURL, ready.LinkURL + "/link"},
	}
	for _, site := range sites {
		t.Run("libraries at "+site.name, func(t *testing.T) { run(t, "libraries.mjs", site.api, site.name, site.other, ready.LinkURL+"/link") })
		t.Run("a browser at "+site.name, func(t *testing.T) {
			args := []string{"browser.mjs", console.page(site.api), site.api, chromium}
			if site.link != "" {
				args = append(args, site.link)
			}
			run(t, args...)
		})
	}
}

// findChromium is Chromium or Chrome, under whichever name a system has it.
func findChromium() (path string, err error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

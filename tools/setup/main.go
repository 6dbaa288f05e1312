// Command setup installs what the tests and the demo run, when it is missing:
// `make setup`. With the argument "logins" that is what TestLoginOfOthers logs in with,
// Node.js, the packages of tools/logins, and a browser; else the servers.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/opsdb/opsdb/platform/sandbox"
)

func main() {
	ctx := context.Background()
	var err error
	if slices.Contains(os.Args[1:], "logins") {
		err = logins(ctx)
	} else {
		_, err = sandbox.Ensure(ctx, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var node = []sandbox.Installer{
	{Manager: "apt-get", Root: true, Steps: [][]string{{"apt-get update"}, {"apt-get install -y --no-install-recommends nodejs npm"}}},
	{Manager: "dnf", Root: true, Steps: [][]string{{"dnf install -y nodejs npm"}}},
	{Manager: "apk", Root: true, Steps: [][]string{{"apk add nodejs npm"}}},
	{Manager: "pacman", Root: true, Steps: [][]string{{"pacman -Sy --noconfirm --needed nodejs npm"}}},
	{Manager: "brew", Steps: [][]string{{"brew install node"}}},
}

var browser = []sandbox.Installer{
	{Manager: "apt-get", Root: true, Steps: [][]string{
		{"apt-get update"},
		{"apt-get install -y --no-install-recommends chromium", "apt-get install -y --no-install-recommends chromium-browser"},
	}},
	{Manager: "dnf", Root: true, Steps: [][]string{{"dnf install -y chromium"}}},
	{Manager: "apk", Root: true, Steps: [][]string{{"apk add chromium"}}},
	{Manager: "pacman", Root: true, Steps: [][]string{{"pacman -Sy --noconfirm --needed chromium"}}},
	{Manager: "brew", Steps: [][]string{{"brew install --cask chromium"}}},
}

// logins installs what logs in, each only when it is missing.
func logins(ctx context.Context) error {
	if err := program(ctx, "Node.js and npm", node, "npm"); err != nil {
		return err
	}
	if err := program(ctx, "Chromium", browser, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"); err != nil {
		return err
	}
	return packages(ctx, filepath.Join("tools", "logins"))
}

// program makes sure that there is a program under one of some names.
func program(ctx context.Context, what string, installers []sandbox.Installer, names ...string) error {
	missing := func() bool {
		return !slices.ContainsFunc(names, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	}
	if !missing() {
		return nil
	}
	err := sandbox.Install(ctx, os.Stderr, what, installers)
	if missing() {
		return errors.Join(fmt.Errorf("install %s: there is none of %v on the PATH", what, names), err)
	}
	return nil
}

// packages brings the npm packages of a folder to what its lock file says.
func packages(ctx context.Context, folder string) error {
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	// npm has no quick way to tell that nothing is to be done: a copy of the lock file beside what it brought does.
	brought := filepath.Join(folder, "node_modules", ".brought.json")
	if last, err := os.ReadFile(brought); err == nil && bytes.Equal(last, lock) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", folder, err, bytes.TrimSpace(out))
	}
	return os.WriteFile(brought, lock, 0o644)
}

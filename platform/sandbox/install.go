package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Installer is how one system's package manager brings something.
type Installer struct {
	Manager string
	Root    bool // it needs root
	// Steps are done in order; a step is done when one of its commands works.
	Steps [][]string
}

var servers = []Installer{
	{"apt-get", true, [][]string{
		{"apt-get update"},
		{"apt-get install -y --no-install-recommends postgresql postgresql-client redis-server"},
	}},
	{"dnf", true, [][]string{
		{"dnf install -y postgresql-server postgresql"},
		{"dnf install -y redis", "dnf install -y valkey"},
	}},
	{"apk", true, [][]string{
		{"apk add postgresql postgresql-client"},
		{"apk add redis", "apk add valkey"},
	}},
	{"pacman", true, [][]string{
		{"pacman -Sy --noconfirm --needed postgresql"},
		{"pacman -S --noconfirm --needed valkey", "pacman -S --noconfirm --needed redis"},
	}},
	{"brew", false, [][]string{
		{"brew install postgresql@17"},
		{"brew install redis"},
	}},
}

// Ensure finds the server programs and psql, and installs what is missing with
// the system's package manager, telling out what it does. Where it may not
// install, or that brings nothing, the error says in one line what to install.
func Ensure(ctx context.Context, out io.Writer) (Binaries, error) {
	binaries, missing := Find()
	_, noPsql := lookPath("psql")
	if missing == nil && noPsql == nil {
		return binaries, nil
	}
	installed := Install(ctx, out, "PostgreSQL and Redis", servers)
	binaries, missing = Find()
	if missing != nil {
		return binaries, errors.Join(missing, installed)
	}
	if _, err := lookPath("psql"); err != nil {
		// Convenient, but nothing here needs it.
		if _, err := fmt.Fprintln(out, "psql is not installed: the printed database addresses are of use with it"); err != nil {
			return binaries, err
		}
	}
	return binaries, nil
}

// Install brings what with the first package manager that is there, and tells out so.
// Its output is shown only when it fails. Where it may not, or there is none, nothing
// is done.
func Install(ctx context.Context, out io.Writer, what string, installers []Installer) error {
	for _, i := range installers {
		if _, err := exec.LookPath(i.Manager); err != nil {
			continue
		}
		var prefix []string
		if i.Root && os.Geteuid() != 0 {
			if exec.CommandContext(ctx, "sudo", "-n", "true").Run() != nil {
				return nil // Not allowed: who misses something says what.
			}
			prefix = []string{"sudo", "-n"}
		}
		if _, err := fmt.Fprintf(out, "installing %s with %s …\n", what, i.Manager); err != nil {
			return err
		}
		for _, alternatives := range i.Steps {
			if err := firstThatWorks(ctx, prefix, alternatives); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func firstThatWorks(ctx context.Context, prefix, alternatives []string) error {
	var failed []error
	for _, command := range alternatives {
		words := append(append([]string(nil), prefix...), strings.Fields(command)...)
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "HOMEBREW_NO_AUTO_UPDATE=1")
		output, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("%s: %w: %s", command, err, lastLines(string(output), 5)))
	}
	return errors.Join(failed...)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

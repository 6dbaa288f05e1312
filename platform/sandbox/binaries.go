package sandbox

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// oldestPostgres is the first major version whose features the schema needs.
const oldestPostgres = 15

// Binaries are the server programs a stack runs.
type Binaries struct {
	// Postgres is the folder of postgres, initdb and pg_basebackup.
	Postgres string
	// Redis is the path of redis-server.
	Redis string
}

// MissingError says in one line which programs a stack needs and the system
// does not have, and which packages bring them.
type MissingError struct {
	// Programs are the missing ones.
	Programs []string
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s not found: install PostgreSQL %d or newer (server and client) and Redis, with %s",
		strings.Join(e.Programs, " and "), oldestPostgres, installHint())
}

func installHint() string {
	if runtime.GOOS == "darwin" {
		return "'brew install postgresql@17 redis'"
	}
	return "'apt-get install postgresql redis-server', " +
		"'dnf install postgresql-server postgresql-contrib redis', 'apk add postgresql postgresql-client redis' or 'pacman -S postgresql redis'"
}

// Find locates the server programs in PATH and in the folders that
// distributions keep them in; the newest PostgreSQL wins. What is not there is
// named by a *MissingError.
func Find() (Binaries, error) {
	var b Binaries
	var missing []string
	postgres, err := findPostgres()
	if err != nil {
		missing = append(missing, err.Error())
	}
	b.Postgres = postgres
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := lookPath(name); err == nil {
			b.Redis = path
			break
		}
	}
	if b.Redis == "" {
		missing = append(missing, "redis-server")
	}
	if len(missing) > 0 {
		return b, &MissingError{Programs: missing}
	}
	return b, nil
}

// lookPath is exec.LookPath that also knows the folders of daemons, which are
// not in every user's PATH.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

func findPostgres() (string, error) {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/lib/postgresql*/bin", "/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", "/usr/local/pgsql/bin", "/usr/bin",
	} {
		// The patterns are constant and well formed.
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	type candidate struct {
		dir   string
		major int
	}
	var usable []candidate
	tooOld := 0
	for _, dir := range dirs {
		if major, err := postgresMajor(dir); err == nil {
			if major >= oldestPostgres {
				usable = append(usable, candidate{dir, major})
			} else {
				tooOld = max(tooOld, major)
			}
		}
	}
	if len(usable) == 0 {
		if tooOld > 0 {
			return "", fmt.Errorf("postgres %d or newer (%d is too old)", oldestPostgres, tooOld)
		}
		return "", errors.New("postgres")
	}
	sort.SliceStable(usable, func(i, j int) bool { return usable[i].major > usable[j].major })
	return usable[0].dir, nil
}

var versionNumber = regexp.MustCompile(`\) (\d+)`)

// postgresMajor asks the postgres of a folder for its major version; a folder
// without all three programs has none.
func postgresMajor(dir string) (int, error) {
	for _, name := range []string{"initdb", "pg_basebackup"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return 0, err
		}
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	match := versionNumber.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("no version in %q", out)
	}
	return strconv.Atoi(string(match[1]))
}

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Names of temporary folders: what is to be kept, and what goes with its stack.
const (
	keptPrefix       = "opsdb-"
	disposablePrefix = "opsdb-run-"
)

// tempDir makes a folder that the servers' user can reach: TMPDIR may be
// private. First it removes what stacks that were killed have left there.
func (o owner) tempDir(options Options) (string, error) {
	prefix := disposablePrefix
	if options.Keep {
		prefix = keptPrefix
	}
	for _, parent := range []string{options.TempDir, os.TempDir(), "/tmp", "/var/tmp"} {
		if parent == "" || !o.reaches(parent) {
			continue
		}
		sweep(parent)
		dir, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			continue
		}
		// Passing through is all that others may do here.
		return dir, os.Chmod(dir, 0o711)
	}
	return "", errors.New("no temporary folder that the servers' user can reach")
}

// sweep removes the disposable folders in parent whose stack is gone. What
// cannot be judged or removed stays: it is another user's, or in use.
func sweep(parent string) {
	dirs, err := filepath.Glob(filepath.Join(parent, disposablePrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		if abandoned(dir, info) {
			if err := os.RemoveAll(dir); err != nil {
				continue
			}
		}
	}
}

// begins is longer than a stack needs from making its folder to locking it.
const begins = time.Minute

// abandoned reports whether nobody holds the folder's lock, and nobody is about to.
func abandoned(dir string, info os.FileInfo) bool {
	if time.Since(info.ModTime()) < begins {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer closeQuietly(lock)
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

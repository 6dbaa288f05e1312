package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the user the servers run as: PostgreSQL refuses to be root.
type owner struct {
	uid, gid uint32
	other    bool // not the user of this process
}

// serverOwner picks the user for servers: this process's own, or for root
// "postgres", else "nobody".
func serverOwner() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return owner{}, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return owner{}, fmt.Errorf("group of user %s: %w", name, err)
		}
		return owner{uid: uint32(uid), gid: uint32(gid), other: true}, nil
	}
	return owner{}, errors.New("running as root, there is neither a user postgres nor nobody for the servers")
}

// mkdir makes a private folder of the owner.
func (o owner) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return o.take(path)
}

// writeFile writes a private file of the owner.
func (o owner) writeFile(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	return o.take(path)
}

func (o owner) take(path string) error {
	if !o.other {
		return nil
	}
	return os.Lchown(path, int(o.uid), int(o.gid))
}

// reaches reports whether the owner may pass through every folder of path.
func (o owner) reaches(path string) bool {
	if !o.other {
		return true
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		mode := info.Mode().Perm()
		passes := mode&0o001 != 0
		if stat.Gid == o.gid {
			passes = mode&0o010 != 0
		}
		if stat.Uid == o.uid {
			passes = mode&0o100 != 0
		}
		if !passes {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

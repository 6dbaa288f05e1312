package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// redisDiskBytes is how large Redis' own file system is: a sparse file.
const redisDiskBytes = 1 << 30

// disk is a file system of its own for Redis, in a file that stands for the disk:
// the kernel's cache lies before it. What the file holds at the moment of a kill
// is what a real disk would hold when the power fails, neither more (nobody has
// flushed it) nor less. It can be filled up, too. Only root can mount one.
type disk struct {
	stack *sandbox.Stack
	image string // the file
	at    string // where it is mounted: Redis' folder

	mu      sync.Mutex
	mounted bool
}

// newDisk puts Redis' folder onto a file system of its own.
func newDisk(ctx context.Context, stack *sandbox.Stack, size int64) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can mount one")
	}
	servers, err := filepath.EvalSymlinks(filepath.Join(stack.Dir, "servers"))
	if err != nil {
		return nil, err
	}
	d := &disk{stack: stack, image: filepath.Join(servers, "redis.img"), at: filepath.Join(servers, "redis")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(d.image, size); err != nil {
		return nil, err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, err
	}
	// What Redis has so far moves along.
	if err := stack.Redis.Kill(); err != nil {
		return nil, err
	}
	before := d.at + ".before"
	err = os.Rename(d.at, before)
	if err == nil {
		err = os.Mkdir(d.at, 0o700)
	}
	if err == nil {
		err = d.mount(ctx)
	}
	if err == nil {
		err = command(ctx, "cp", "-aT", before, d.at)
	}
	if err == nil {
		// Redis made sure that it was on disk; so must its copy be.
		err = command(ctx, "sync", "-f", d.at)
	}
	if err != nil {
		// Perhaps since ctx is over; the mount must not stay.
		err = errors.Join(err, d.unmount(context.WithoutCancel(ctx)), os.RemoveAll(d.at), os.Rename(before, d.at))
	} else {
		err = os.RemoveAll(before)
	}
	if err = errors.Join(err, stack.Redis.Start(ctx)); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *disk) mount(ctx context.Context) error {
	err := command(ctx, "mount", "-o", "loop,noatime", d.image, d.at)
	d.mounted = err == nil
	return err
}

// unmount waits, 10 s at most, for the child that rewrites the append-only file: it
// outlives Redis for a moment, and nothing that it writes is kept.
func (d *disk) unmount(ctx context.Context) error {
	if !d.mounted {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := command(ctx, "umount", d.at)
		if err == nil {
			d.mounted = false
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("unmounting %s: %w", d.at, err)
		}
	}
}

func (d *disk) filler() string { return filepath.Join(d.at, "filler") }

// fill leaves no room for anything.
func (d *disk) fill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.at, &stat); err != nil {
		return err
	}
	file, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	// A block at a time in the end: the file system keeps some for itself.
	for left := int64(stat.Bfree); left > 0; {
		err := syscall.Fallocate(int(file.Fd()), 0, fileSize(file), left*stat.Bsize)
		if errors.Is(err, syscall.ENOSPC) {
			left /= 2
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("filling the disk: %w", err), file.Close())
		}
	}
	return file.Close()
}

func fileSize(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// free gives the room back.
func (d *disk) free() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(d.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// cutPower kills Redis and starts it again on what the disk holds at that moment.
// It ends what it has begun, also when a round is over meanwhile: a disk that stays
// unmounted is none that a power cut leaves.
func (d *disk) cutPower(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stack.Redis.Kill(); err != nil {
		return err
	}
	held := d.image + ".held"
	if err := command(ctx, "cp", "--sparse=always", d.image, held); err != nil {
		return errors.Join(err, d.stack.Redis.Start(ctx))
	}
	// Unmounting writes to the file that is thrown away.
	err := d.unmount(ctx)
	if err == nil {
		err = os.Rename(held, d.image)
	}
	if err == nil {
		err = d.mount(ctx)
	}
	return errors.Join(err, d.stack.Redis.Start(ctx))
}

// close ends Redis and takes the mount away, so that the stack can be removed.
func (d *disk) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.stack.Redis.Kill()
	return errors.Join(err, d.unmount(context.Background()))
}

package buffer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/txn"
)

// ExportConfig is what an export needs: the site's Redis, and its key.
type ExportConfig struct {
	Site    string
	Redis   *rdb.Client
	Catalog *txn.Catalog
	Key     SneakernetKey
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

// Exported is what an export has written.
type Exported struct {
	// Transactions are in the file; LeftOut are dead letters and what waits for them.
	Transactions, LeftOut int
}

// Export writes every transaction that the site's Redis keeps into the file name, which
// must not be there yet and is when it is whole: also those that are applied or replicated already, for
// main may have lost them since, and what follows would be applied without them. Dead
// letters stay, with what depends on them, and so do discarded transactions. It needs
// memory for one page, however much is kept.
func Export(ctx context.Context, name string, c ExportConfig) (done Exported, err error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	switch _, err := os.Stat(name); {
	case err == nil:
		return done, fmt.Errorf("writing the file: %s is there already", name)
	case !errors.Is(err, fs.ErrNotExist):
		return done, fmt.Errorf("writing the file: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err == nil {
			err = os.Rename(file.Name(), name)
		}
		if err == nil {
			err = syncDir(filepath.Dir(name))
		}
		if e := os.Remove(file.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	header := SneakernetHeader{Format: sneakernetFormat, Version: sneakernetVersion, Site: c.Site, Created: c.Clock().UTC().Truncate(time.Second)}
	first, err := headerLine(header)
	if err != nil {
		return done, err
	}
	w := bufio.NewWriter(file)
	if _, err := w.Write(first); err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	if done, err = writeKept(ctx, w, c); err != nil {
		return done, err
	}
	if err := w.Flush(); err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	header.Count = done.Transactions
	if first, err = headerLine(header); err != nil {
		return done, err
	}
	if _, err := file.WriteAt(first, 0); err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	last, err := trailerLine(file, c.Key)
	if err != nil {
		return done, fmt.Errorf("signing the file: %w", err)
	}
	if _, err := file.Write(last); err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	if err := file.Sync(); err != nil {
		return done, fmt.Errorf("writing the file: %w", err)
	}
	return done, nil
}

// writeKept writes one line for each transaction that belongs into the file.
func writeKept(ctx context.Context, w *bufio.Writer, c ExportConfig) (done Exported, err error) {
	// What depends on a dead letter waits for it, also where the site's processor has
	// not said so yet: applied before it, it would be overwritten by its retry.
	var dead txn.Dependencies
	err = pending.EachKept(ctx, c.Redis, c.Site, c.Catalog, func(k pending.Kept) error {
		switch {
		case k.Unknown != nil:
			return fmt.Errorf("transaction %d cannot be read by this opsdb: %w", k.Seq, k.Unknown)
		case k.Discarded:
			return nil
		case k.Dead, len(dead.Of(k.Place, k.Changes)) > 0:
			dead.Add(k.Seq, k.Place, k.Changes)
			done.LeftOut++
			return nil
		}
		done.Transactions++
		if _, err := w.Write(append(k.JSON(), '\n')); err != nil {
			return fmt.Errorf("writing the file: %w", err)
		}
		return nil
	})
	return done, err
}

// syncDir makes a rename outlive a power cut: the file may be on its way at once.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// quarantineShare is the part of all contents, one in so many, that unknown ones
// may be for any of them to be deleted. More of them are no leftovers of crashes:
// rows are missing.
const quarantineShare = 10

// Quarantine counts contents that no row names. It is of the last round.
type Quarantine struct {
	Unknown int       // contents that no row names
	Total   int       // all contents
	Oldest  time.Time // when the first of them was noted, by the store's clock
	Some    []string  // keys of some of them
}

// TooMany reports that the unknown contents are too large a part of all to be
// leftovers: none of them is deleted.
func (q Quarantine) TooMany() bool { return q.Unknown*quarantineShare > q.Total }

// Quarantine returns what the last round found; ok is false before the first one.
func (k *contentCheck) Quarantine() (q Quarantine, ok bool) {
	if last := k.quarantine.Load(); last != nil {
		return *last, true
	}
	return Quarantine{}, false
}

// sweepUnknown compares contents with rows. A content without a row was left by a crash
// between the changes of the two, or its row was lost. It is noted in the store and kept.
// It is deleted when it has been noted for Config.Quarantine, if deleting is allowed in
// this round and unknown contents are a small part of all.
func (k *contentCheck) sweepUnknown(ctx context.Context, deleting bool) error {
	began, err := k.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("looking for unknown contents: %w", err)
	}
	var (
		found   Quarantine
		old     []string // a chunk of contents to be looked up
		overdue []string // at most a chunk
	)
	lookUp := func() error {
		if len(old) == 0 {
			return nil
		}
		noted, err := k.noteUnknown(ctx, old)
		if err != nil {
			return err
		}
		found.Unknown += len(noted)
		for _, c := range noted {
			if len(found.Some) < missingNamed {
				found.Some = append(found.Some, c.Key)
			}
			if found.Oldest.IsZero() || c.Since.Before(found.Oldest) {
				found.Oldest = c.Since
			}
			if began.Sub(c.Since) >= k.config().Quarantine && len(overdue) < cleanChunk {
				overdue = append(overdue, c.Key)
			}
		}
		old = old[:0]
		return nil
	}
	if err := k.files.List(ctx, func(key string, modified time.Time) error {
		found.Total++
		if time.Since(modified) < unknownAge {
			return nil
		}
		if old = append(old, key); len(old) == cleanChunk {
			return lookUp()
		}
		return nil
	}); err != nil {
		return fmt.Errorf("looking for unknown contents: %w", err)
	}
	if err := lookUp(); err != nil {
		return err
	}
	if err := k.store.PruneQuarantine(ctx, began); err != nil {
		return fmt.Errorf("looking for unknown contents: %w", err)
	}
	before, _ := k.Quarantine()
	k.quarantine.Store(&found)
	if found.Unknown > 0 && found.Unknown != before.Unknown {
		k.log.Warn("contents without a row are quarantined", zap.Int("unknown", found.Unknown), zap.Int("total", found.Total),
			zap.Strings("some", found.Some), zap.Time("oldest", found.Oldest), zap.Duration("kept_for", k.config().Quarantine))
	}
	if !deleting || found.TooMany() {
		return nil
	}
	return k.deleteOverdue(ctx, overdue)
}

// noteUnknown notes those of keys that no row names.
func (k *contentCheck) noteUnknown(ctx context.Context, keys []string) ([]batch.UnknownContent, error) {
	unknown, err := k.store.UnknownKeys(ctx, keys)
	if err == nil && len(unknown) > 0 {
		var noted []batch.UnknownContent
		if noted, err = k.store.Quarantine(ctx, unknown); err == nil {
			return noted, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("looking up contents: %w", err)
	}
	return nil, nil
}

// problem describes a quarantine that is too large for leftovers of crashes.
func (q Quarantine) problem() string {
	if q.Unknown == 0 || !q.TooMany() {
		return ""
	}
	return fmt.Sprintf("%d of %d contents are unknown to the database and kept (among them %s): restore the database that knows them, or delete them yourself", q.Unknown, q.Total, strings.Join(q.Some, ", "))
}

// deleteOverdue deletes contents whose quarantine is over, if still no row names
// them.
func (k *contentCheck) deleteOverdue(ctx context.Context, overdue []string) error {
	if len(overdue) == 0 {
		return nil
	}
	unknown, err := k.store.UnknownKeys(ctx, overdue)
	if err != nil {
		return fmt.Errorf("looking up contents: %w", err)
	}
	deleted, err := k.deleteContents(ctx, unknown)
	if len(deleted) > 0 {
		k.log.Info("quarantined contents deleted", zap.Int("contents", len(deleted)), zap.Strings("keys", deleted[:min(len(deleted), 10)]))
	}
	if err != nil {
		return fmt.Errorf("deleting unknown contents: %w", err)
	}
	return nil
}

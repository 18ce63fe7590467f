package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

const (
	// unknownAge is the minimum age of a content without a row to be noted. A younger one
	// may still get its row.
	unknownAge = time.Hour
	// checkInterval is the time between two comparisons of contents with rows.
	checkInterval = time.Hour
	// missingNamed limits the files without a content that are listed.
	missingNamed = 5
)

// Missing are files without a content, as of the last round.
type Missing struct {
	Files int
	Some  []string // ids of the newest of them
}

func (m Missing) problem() string {
	if m.Files == 0 {
		return ""
	}
	more := ""
	if n := m.Files - len(m.Some); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("the contents of %d files are missing (%s%s): restore them, or delete the files", m.Files, strings.Join(m.Some, ", "), more)
}

// contentCheck compares the contents of files with the rows of the database.
type contentCheck struct {
	*parts
	adopt atomic.Bool // see AdoptContents

	checking   sync.Mutex                 // held for a round
	quarantine atomic.Pointer[Quarantine] // of the last round; nil before
	missing    atomic.Pointer[Missing]    // of the last round; nil before
}

// Missing returns what the last round found; ok is false before the first one.
func (k *contentCheck) Missing() (m Missing, ok bool) {
	if last := k.missing.Load(); last != nil {
		return *last, true
	}
	return Missing{}, false
}

// contentsProblem describes the problem of contents; "" if there is none.
func (k *contentCheck) contentsProblem() string {
	missing, _ := k.Missing()
	unknown, _ := k.Quarantine()
	var problems []string
	for _, text := range []string{missing.problem(), unknown.problem()} {
		if text != "" {
			problems = append(problems, text)
		}
	}
	return strings.Join(problems, "; ")
}

// runContentCheck compares contents with rows at the start and then every hour. The first
// round that succeeds deletes nothing, so that an operator can first see contents that were
// mounted or restored wrongly.
func (k *contentCheck) runContentCheck(ctx context.Context) {
	deleting := false
	for {
		err := k.checkContents(ctx, deleting)
		k.health.noteHousekeeping("comparing contents with rows", err)
		pause := k.config().CollectInterval
		if err == nil {
			deleting, pause = true, checkInterval
		}
		if !wait.Sleep(ctx, pause) {
			return
		}
	}
}

// checkContents does a round of both checks. Each runs even if the other fails.
func (k *contentCheck) checkContents(ctx context.Context, deleting bool) error {
	k.checking.Lock()
	defer k.checking.Unlock()
	return errors.Join(k.findMissing(ctx), k.sweepUnknown(ctx, deleting))
}

// findMissing searches for files without a content.
func (k *contentCheck) findMissing(ctx context.Context) error {
	var found Missing
	for before := int64(0); ; {
		page, err := k.store.NeededContents(ctx, before, cleanChunk)
		if err != nil {
			return fmt.Errorf("looking for missing contents: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			gone, err := k.isMissing(ctx, c)
			if err != nil {
				return fmt.Errorf("looking for missing contents: %w", err)
			}
			if !gone {
				continue
			}
			if found.Files++; len(found.Some) < missingNamed {
				found.Some = append(found.Some, c.FileID)
			}
		}
		before = page[len(page)-1].Seq
	}
	before, _ := k.Missing()
	k.missing.Store(&found)
	if found.Files > 0 && found.Files != before.Files {
		k.log.Error("contents of files are missing", zap.Int("files", found.Files), zap.Strings("some", found.Some))
	}
	return nil
}

// isMissing reports whether a file needs a content that is not there.
func (k *contentCheck) isMissing(ctx context.Context, c batch.NeededContent) (bool, error) {
	bounded, cancel := k.bounded(ctx)
	defer cancel()
	there, err := k.hasContent(bounded, c.Key)
	if there || err != nil {
		return false, err
	}
	// It may have been deleted since it was listed.
	again, err := k.store.NeededContents(bounded, c.Seq+1, 1)
	return err == nil && len(again) == 1 && again[0] == c, err
}

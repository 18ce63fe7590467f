package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

const (
	// unknownAge is how old a content without a row must be to be noted: younger
	// ones may be about to get it.
	unknownAge = time.Hour
	// checkInterval is how often contents are compared with rows.
	checkInterval = time.Hour
	// missingNamed is how many files without a content are named.
	missingNamed = 5
)

// Missing are files whose content is gone, as of the last round.
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

// Missing returns what the last round found; ok is false before the first one.
func (e *Engine) Missing() (m Missing, ok bool) {
	if last := e.missing.Load(); last != nil {
		return *last, true
	}
	return Missing{}, false
}

// contentsProblem says what is wrong with contents, "" for nothing.
func (e *Engine) contentsProblem() string {
	missing, _ := e.Missing()
	unknown, _ := e.Quarantine()
	var problems []string
	for _, text := range []string{missing.problem(), unknown.problem()} {
		if text != "" {
			problems = append(problems, text)
		}
	}
	return strings.Join(problems, "; ")
}

// runContentCheck compares contents with rows, at once and then every hour. The
// first round that succeeds deletes nothing: contents that were mounted or restored
// wrongly are to be seen first.
func (e *Engine) runContentCheck(ctx context.Context) {
	deleting := false
	for {
		err := e.checkContents(ctx, deleting)
		e.health.noteHousekeeping("comparing contents with rows", err)
		pause := e.config().CollectInterval
		if err == nil {
			deleting, pause = true, checkInterval
		}
		if !wait.Sleep(ctx, pause) {
			return
		}
	}
}

// checkContents does a round of both checks. One that fails keeps the other from
// nothing.
func (e *Engine) checkContents(ctx context.Context, deleting bool) error {
	e.checking.Lock()
	defer e.checking.Unlock()
	return errors.Join(e.findMissing(ctx), e.sweepUnknown(ctx, deleting))
}

// findMissing looks for files whose content is gone.
func (e *Engine) findMissing(ctx context.Context) error {
	var found Missing
	for before := int64(0); ; {
		page, err := e.store.NeededContents(ctx, before, cleanChunk)
		if err != nil {
			return fmt.Errorf("looking for missing contents: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			gone, err := e.isMissing(ctx, c)
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
	before, _ := e.Missing()
	e.missing.Store(&found)
	if found.Files > 0 && found.Files != before.Files {
		e.log.Error("contents of files are missing", zap.Int("files", found.Files), zap.Strings("some", found.Some))
	}
	return nil
}

// isMissing reports whether a file needs a content that is not there.
func (e *Engine) isMissing(ctx context.Context, c batch.NeededContent) (bool, error) {
	bounded, cancel := e.bounded(ctx)
	defer cancel()
	there, err := e.hasContent(bounded, c.Key)
	if there || err != nil {
		return false, err
	}
	// It may have been deleted since it was listed.
	again, err := e.store.NeededContents(bounded, c.Seq+1, 1)
	return err == nil && len(again) == 1 && again[0] == c, err
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// ErrOtherContents reports that the contents that are there are not those that the
// database belongs with. Opening the engine fails with it until the right contents
// or the right database are there, or AdoptContents was called.
var ErrOtherContents = errors.New("the contents of files are not those of this database")

// identitySample limits the files that are searched before contents count as those of
// another database.
const identitySample = 1000

// errFound ends a listing at its first content.
var errFound = errors.New("found")

// AdoptContents has the next Open take the contents that are there for those of
// the database, whatever it finds.
func (k *contentCheck) AdoptContents() { k.adopt.Store(true) }

// identify compares the place of the contents with the place that the database belongs
// to. Both are named when a gateway first opens them. If one of the two is lost, mounted
// late, restored or exchanged later, identify detects it before anything is written or
// deleted.
//
// Keys are random, so a content that a row names proves that both belong together. This
// recognises an installation that was made before places were stored, whose marker was
// lost, or whose database was restored.
func (k *contentCheck) identify(ctx context.Context) error {
	placed := k.files.Capabilities().Place
	if placed == nil {
		return nil
	}
	place, err := placed.Place(ctx)
	if err != nil {
		return fmt.Errorf("finding the place of files: %w", err)
	}
	noted, err := k.store.Place(ctx)
	if err != nil {
		return fmt.Errorf("finding the place of files: %w", err)
	}
	if noted == place {
		return nil
	}
	files, match, err := k.matchContents(ctx)
	if err != nil {
		return fmt.Errorf("comparing files with the database: %w", err)
	}
	empty, err := k.noContents(ctx)
	if err != nil {
		return fmt.Errorf("comparing files with the database: %w", err)
	}
	switch {
	case match, files == 0 && empty:
	case k.adopt.Load():
		k.log.Warn("contents adopted", zap.String("place", place), zap.String("place_before", noted), zap.Int("files", files))
	default:
		return otherContents(place, files, empty)
	}
	if err := k.store.SetPlace(ctx, place); err != nil {
		return fmt.Errorf("noting the place of files: %w", err)
	}
	return nil
}

// otherContents returns an error with the problem and its remedies.
func otherContents(place string, files int, empty bool) error {
	const adopt = `if they do belong together, run "tidegate contents adopt"`
	switch {
	case empty:
		return fmt.Errorf("%w: the database has files, and the directory or bucket (%s) is empty: mount or restore the contents, or configure where they are; %s and the contents are lost", ErrOtherContents, place, adopt)
	case files == 0:
		return fmt.Errorf("%w: the directory or bucket (%s) has contents, and the database knows none of them: restore the database, or configure an empty directory or another prefix; %s", ErrOtherContents, place, adopt)
	default:
		return fmt.Errorf("%w: of the newest %d files of the database none is in the directory or bucket (%s): configure the one that belongs with this database; %s", ErrOtherContents, files, place, adopt)
	}
}

// matchContents searches for a content that the database names. It returns the number of
// files that it searched for.
func (k *contentCheck) matchContents(ctx context.Context) (files int, match bool, err error) {
	var before int64
	for files < identitySample {
		page, err := k.store.NeededContents(ctx, before, 100)
		if err != nil || len(page) == 0 {
			return files, false, err
		}
		for _, c := range page {
			files++
			switch there, err := k.hasContent(ctx, c.Key); {
			case err != nil:
				return files, false, err
			case there:
				return files, true, nil
			}
		}
		before = page[len(page)-1].Seq
	}
	return files, false, nil
}

// hasContent reports whether a content is there.
func (k *contentCheck) hasContent(ctx context.Context, key string) (bool, error) {
	r, err := k.files.Read(ctx, key, 0, 0)
	if errors.Is(err, batch.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.Close()
}

// noContents reports whether there is no content at all.
func (k *contentCheck) noContents(ctx context.Context) (bool, error) {
	err := k.files.List(ctx, func(string, time.Time) error { return errFound })
	if errors.Is(err, errFound) {
		return false, nil
	}
	return err == nil, err
}

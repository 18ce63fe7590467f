package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
)

type files struct {
	*source
	once     sync.Once
	findings recent[string, engine.Inspection]
}

// inspectedAge limits the caching of an inspection, because the served models may change.
const inspectedAge = 10 * time.Minute

func (f *files) inspected() *recent[string, engine.Inspection] {
	f.once.Do(func() { f.findings.age = inspectedAge })
	return &f.findings
}

const (
	shownUses  = 3  // batches of a file that lists name
	largeFiles = 10 // the largest files
)

// List returns a page of files.
func (f *files) List(ctx context.Context, q dashboard.FileQuery) (dashboard.FilePage, error) {
	found, err := searchFiles(q, func(query batch.FileQuery) ([]batch.File, bool, error) {
		return f.Config.Files.List(ctx, f.Tenant, query)
	})
	if err != nil {
		return dashboard.FilePage{}, err
	}
	rows, err := f.uses(ctx, found.files)
	return dashboard.FilePage{Files: rows, More: found.more, After: found.after}, err
}

// uses adds the users of files.
func (f *files) uses(ctx context.Context, page []batch.File) ([]dashboard.File, error) {
	var inputs []string
	for _, file := range page {
		if file.Purpose == openai.PurposeBatch {
			inputs = append(inputs, file.ID)
		}
	}
	uses, err := f.analytics().FileUses(ctx, f.Tenant, inputs, shownUses)
	if err != nil {
		return nil, err
	}
	rows := make([]dashboard.File, len(page))
	for i, file := range page {
		rows[i] = dashboard.File{File: file, Use: uses[file.ID]}
		if file.Purpose == openai.PurposeBatchOutput {
			if id := engine.BatchOfResults(file.Filename); id != "" {
				rows[i].Use.Latest, rows[i].Use.Batches = []string{id}, 1
			}
		}
	}
	return rows, nil
}

// File returns one file.
func (f *files) File(ctx context.Context, id string) (dashboard.File, error) {
	file, err := f.Config.Files.File(ctx, f.Tenant, id)
	if err != nil {
		return dashboard.File{}, err
	}
	rows, err := f.uses(ctx, []batch.File{file})
	if err != nil {
		return dashboard.File{}, err
	}
	return rows[0], nil
}

// Space returns the disk usage by files.
func (f *files) Space(ctx context.Context) (dashboard.Space, error) {
	var s dashboard.Space
	var err error
	if s.ByPurpose, err = f.analytics().Storage(ctx, f.Tenant); err != nil {
		return dashboard.Space{}, err
	}
	slices.SortFunc(s.ByPurpose, func(a, b batch.StorageUse) int { return cmp.Compare(b.Bytes, a.Bytes) })
	largest, err := f.analytics().LargestFiles(ctx, f.Tenant, largeFiles)
	if err != nil {
		return dashboard.Space{}, err
	}
	if s.Largest, err = f.uses(ctx, largest); err != nil {
		return dashboard.Space{}, err
	}
	disk, known, err := f.Engine.Space()
	if known {
		s.Disk = disk
	}
	return s, err
}

// Content opens a file.
func (f *files) Content(ctx context.Context, id string) (dashboard.Download, error) {
	file, content, err := f.Config.Files.Content(ctx, f.Tenant, id)
	if err != nil {
		return dashboard.Download{}, err
	}
	return dashboard.Download{ReadCloser: content, Filename: file.Filename, Bytes: file.Bytes}, nil
}

// Delete removes a file.
func (f *files) Delete(ctx context.Context, id string) error {
	return f.Config.Files.Delete(ctx, f.Tenant, id)
}

// MaxBytes returns the maximum size of a file.
func (f *files) MaxBytes() int64 { return f.Config.Files.MaxFileBytes() }

// Upload stores a file of requests and checks it while it arrives; a compressed one
// is checked on demand.
func (f *files) Upload(ctx context.Context, filename string, content io.Reader, seen func(engine.Seen)) (string, error) {
	id, err := f.store(ctx, filename, content, seen)
	return id, httpapi.Explain(err)
}

func (f *files) store(ctx context.Context, filename string, content io.Reader, seen func(engine.Seen)) (id string, err error) {
	name, err := httpapi.ParseFilename("file", filename)
	if err != nil {
		return "", err
	}
	in, err := f.Config.Files.Begin(ctx, f.Tenant, 0)
	if err != nil {
		return "", err
	}
	defer func() {
		if aborting := in.Abort(); aborting != nil { // not after a commit
			err = errors.Join(err, aborting)
		}
	}()
	if upload.Packed(name) {
		seen = nil // compressed data contains no lines yet
	}
	look := f.look(ctx, seen)
	_, err = io.Copy(io.MultiWriter(in, look), content)
	found, looking := look.end(err)
	if err != nil {
		return "", fmt.Errorf("storing file: %w", err)
	}
	file, err := in.Commit(ctx, f.Tenant, upload.CommitRequest{Filename: name, Purpose: openai.PurposeBatch})
	if err != nil {
		return "", err
	}
	if looking == nil && file.Compression == nil {
		f.inspected().put(inspectionOf(ctx, file.ID), f.Config.Now(), found)
	}
	return file.ID, nil
}

// looking checks the data that is written to it in the background.
type looking struct {
	*io.PipeWriter
	done  chan struct{}
	found engine.Inspection
	err   error
}

func (f *files) look(ctx context.Context, seen func(engine.Seen)) *looking {
	from, to := io.Pipe()
	l := &looking{PipeWriter: to, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.found, l.err = f.Engine.InspectLines(ctx, from, seen)
		_, _ = io.Copy(io.Discard, from) // on an error storing continues; the writer reports it
	}()
	return l
}

// end waits for the result of the check. err is why writing ended, nil for a complete
// file.
func (l *looking) end(err error) (engine.Inspection, error) {
	_ = l.CloseWithError(err) // never fails
	<-l.done
	return l.found, l.err
}

package dashboard

import (
	"context"
	"io"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/templates"
)

// Files provides the stored files.
type Files interface {
	List(ctx context.Context, q FileQuery) (FilePage, error)
	File(ctx context.Context, id string) (File, error)
	// Space returns the disk usage of the file store.
	Space(ctx context.Context) (Space, error)
	Content(ctx context.Context, id string) (Download, error)
	Delete(ctx context.Context, id string) error

	// Upload stores a file of requests as it arrives and returns its id. Findings do
	// not make it fail: seen is called with them as they are made.
	Upload(ctx context.Context, filename string, content io.Reader, seen func(engine.Seen)) (string, error)
	// Inspect checks a file of requests.
	Inspect(ctx context.Context, id string) (Inspection, error)
	// MaxBytes returns the maximum size of an uploaded file.
	MaxBytes() int64
}

// FileQuery selects a page of files, the newest first.
type FileQuery struct {
	batch.FileQuery
	// Text must be contained in the name, ignoring case, or in the id.
	Text string
}

// FilePage is a page of files.
type FilePage struct {
	Files []File
	// More reports whether files follow after After. A page of a search may be short,
	// even empty, although more follow.
	More  bool
	After string // id of the last file that was searched
}

// File is a file and its users.
type File struct {
	batch.File
	Use batch.FileUse // by batches that have it as input, output or error file
}

// Space is the disk usage of the file store, in bytes.
type Space struct {
	ByPurpose []batch.StorageUse // the largest first
	Largest   []File             // at most ten
	Disk      batch.Space        // zero if there is no limit, or it is not known
}

// Inspection is the result of checking a file of requests.
type Inspection struct {
	engine.Seen
	File     batch.File
	Endpoint string                 // of the first line
	Models   []templates.ModelLines // the most lines first, at most twenty
	// InputTokens and OutputTokens are estimates, 0: not known.
	InputTokens, OutputTokens int64
	Duration                  templates.Estimate // until a batch of it would end
	// Basis explains the estimates.
	Basis string
}

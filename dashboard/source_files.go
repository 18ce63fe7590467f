package dashboard

import (
	"context"
	"io"

	"github.com/tidegate/tidegate/batch"
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
	Upload(ctx context.Context, filename string, content io.Reader, seen func(Arriving)) (string, error)
	// Inspect checks a file of requests.
	Inspect(ctx context.Context, id string) (Inspection, error)
	// MaxBytes returns the maximum size of an uploaded file.
	MaxBytes() int64
}

// Arriving contains the findings in the received lines of a file.
type Arriving struct {
	Lines         int64     // checked so far
	Findings      []Finding // the first ones
	FindingsTotal int
}

// FileQuery selects a page of files, the newest first.
type FileQuery struct {
	Purpose string // "" for any
	// Text must be contained in the name, ignoring case, or in the id.
	Text  string
	After string // id of the last file of the previous page, "" for the first page
	Limit int
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
	// UsedBy are ids of batches that have it as input, output or error file, the
	// newest first, at most ten. UsedByTotal counts all.
	UsedBy      []string
	UsedByTotal int
	// Needed reports whether it is the input of a batch that has not ended.
	Needed bool
}

// Space is the disk usage of the file store, in bytes.
type Space struct {
	ByPurpose []PurposeSpace // the largest first
	Largest   []File         // at most ten
	// Total and Free are the disk's; 0: there is no limit, or it is not known. Reserve
	// is kept free intentionally.
	Total, Free, Reserve int64
}

// PurposeSpace is the disk usage of files with one purpose.
type PurposeSpace struct {
	Purpose      string
	Files, Bytes int64
}

// Inspection is the result of checking a file of requests.
type Inspection struct {
	File     batch.File
	Endpoint string // of the first line
	Lines    int64
	Models   []ModelLines // the most lines first, at most twenty
	// Findings are the first problems, at most a hundred.
	Findings      []Finding
	FindingsTotal int
	// InputTokens and OutputTokens are estimates, 0: not known.
	InputTokens, OutputTokens int64
	Duration                  Estimate // until a batch of it would end
	// Basis explains the estimates.
	Basis string
}

// ModelLines is the number of lines for a model.
type ModelLines struct {
	Model  string
	Lines  int64
	Served bool // an upstream has the model
}

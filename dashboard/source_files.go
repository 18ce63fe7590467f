package dashboard

import (
	"context"
	"io"

	"github.com/tidegate/tidegate/batch"
)

// Files are the stored files.
type Files interface {
	List(ctx context.Context, q FileQuery) (FilePage, error)
	File(ctx context.Context, id string) (File, error)
	// Space tells what fills the place where contents lie.
	Space(ctx context.Context) (Space, error)
	Content(ctx context.Context, id string) (Download, error)
	Delete(ctx context.Context, id string) error

	// Upload stores a file of requests as it arrives and gives its id.
	// Findings do not make it fail: seen is told of them as they are made.
	Upload(ctx context.Context, filename string, content io.Reader, seen func(Arriving)) (string, error)
	// Inspect tells what is in a file of requests.
	Inspect(ctx context.Context, id string) (Inspection, error)
	// MaxBytes is how large an uploaded file may be.
	MaxBytes() int64
}

// Arriving is what was found in the lines of a file that have arrived.
type Arriving struct {
	Lines         int64     // that were looked through
	Findings      []Finding // the first ones
	FindingsTotal int
}

// FileQuery asks for a page of files, the newest first.
type FileQuery struct {
	Purpose string // "" for any
	// Text is looked for in names, letters of either case, and in ids.
	Text  string
	After string // id of the file before the first wanted, "" from the start
	Limit int
}

// FilePage is a page of files.
type FilePage struct {
	Files []File
	// More says that others follow behind After. A page of a search may be
	// short, even empty, while there are more.
	More  bool
	After string // id of the last file that was looked at
}

// File is a file and who uses it.
type File struct {
	batch.File
	// UsedBy are ids of batches that have it as input, output or error file,
	// the newest first, at most ten. UsedByTotal counts all.
	UsedBy      []string
	UsedByTotal int
	// Needed says that a batch that is not over has it as its input.
	Needed bool
}

// Space is what fills the place where contents lie, in bytes.
type Space struct {
	ByPurpose []PurposeSpace // the largest first
	Largest   []File         // at most ten
	// Total and Free are the disk's; 0: there is no such limit, or it is not
	// known. Reserve is how much is left free on purpose.
	Total, Free, Reserve int64
}

// PurposeSpace is what the files of one purpose take.
type PurposeSpace struct {
	Purpose      string
	Files, Bytes int64
}

// Inspection is what is in a file of requests.
type Inspection struct {
	File     batch.File
	Endpoint string // that the first line names
	Lines    int64
	Models   []ModelLines // the most lines first, at most twenty
	// Findings are the first things that are wrong, at most a hundred.
	Findings      []Finding
	FindingsTotal int
	// InputTokens and OutputTokens are estimates, 0: not known.
	InputTokens, OutputTokens int64
	Duration                  Estimate // until a batch of it would be over
	// Basis says what the estimates were made from.
	Basis string
}

// ModelLines is how many lines of a file name a model.
type ModelLines struct {
	Model  string
	Lines  int64
	Served bool // an upstream has the model
}

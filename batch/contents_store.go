package batch

import (
	"context"
	"time"
)

// ContentStore knows which contents there are to be.
type ContentStore interface {
	// Place returns the name of the place whose contents belong with the
	// database, "" when none was set. See Placed.
	Place(ctx context.Context) (string, error)
	SetPlace(ctx context.Context, place string) error
	// NeededContents lists contents that files need: those of files that are
	// neither deleted nor expired, and inputs of unfinished batches. The newest
	// files come first; before continues a listing below the Seq of its last
	// entry, 0 begins it.
	NeededContents(ctx context.Context, before int64, limit int) ([]NeededContent, error)
	// Quarantine notes contents that no row names and returns when each was first
	// noted.
	Quarantine(ctx context.Context, keys []string) ([]UnknownContent, error)
	// PruneQuarantine forgets contents that no call of Quarantine has named since
	// a time: they are gone, or have got a row.
	PruneQuarantine(ctx context.Context, since time.Time) error
}

// NeededContent is the content of a file.
type NeededContent struct {
	Seq    int64 // of the file's row; newer rows have larger ones
	FileID string
	Key    string
}

// UnknownContent is a content that no row names.
type UnknownContent struct {
	Key   string
	Since time.Time // by the database's clock
}

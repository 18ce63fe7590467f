package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// Results has the methods that the API needs for results so far.
type Results interface {
	// Results also returns batch.ErrNotFound for a batch that has ended without
	// such lines, and if its file no longer exists. Reading returns
	// engine.ErrEndedMeanwhile if the batch ends.
	Results(ctx context.Context, tenant, id string, failed bool) (engine.Results, error)
}

func (h *handler) getOutput(w http.ResponseWriter, r *http.Request, id string) error {
	return h.sendResults(w, r, id, false)
}

func (h *handler) getErrors(w http.ResponseWriter, r *http.Request, id string) error {
	return h.sendResults(w, r, id, true)
}

// resultsBuffer is the number of bytes of results that are read before the response starts,
// so that an early error has an error status.
const resultsBuffer = 64 << 10

// sendResults sends the available lines of the output or the error file of a batch.
func (h *handler) sendResults(w http.ResponseWriter, r *http.Request, id string, failed bool) (err error) {
	lines, err := h.batches.Results(r.Context(), h.tenant(r), id, failed)
	if errors.Is(err, batch.ErrNotFound) {
		lines, err = h.noResults(r, id, failed)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	content := bufio.NewReaderSize(lines, resultsBuffer)
	if r.Method != http.MethodHead {
		if _, err := content.Peek(1); errors.Is(err, engine.ErrEndedMeanwhile) {
			return h.sendResults(w, r, id, failed) // from its files
		} else if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream") // as a file's content
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Disposition", attachment(engine.ResultsName(id, failed)))
	if lines.Bytes >= 0 {
		header.Set("Content-Length", strconv.FormatInt(lines.Bytes, 10))
	}
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, content); err != nil {
		if r.Context().Err() == nil {
			h.log.Warn("sending results interrupted", zap.String("batch", id), zap.Error(err))
		}
		panic(http.ErrAbortHandler) // otherwise an incomplete response would look complete
	}
	return nil
}

// noResults distinguishes why an ended batch has no lines of a kind: there are none, or
// their file no longer exists.
func (h *handler) noResults(r *http.Request, id string, failed bool) (engine.Results, error) {
	b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
	if err != nil {
		return engine.Results{}, err
	}
	file := b.OutputFileID
	if failed {
		file = b.ErrorFileID
	}
	if file != "" {
		return engine.Results{}, openai.Conflict("The results of batch '%s' are gone.", id)
	}
	return engine.Results{ReadCloser: http.NoBody}, nil
}

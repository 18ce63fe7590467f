package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// maxFilePage is the maximum and the default number of files in a page.
const maxFilePage = 10_000

// listedPurposes are the purposes that a list can be filtered by. They include
// those of files that clients do not create.
var listedPurposes = slices.Concat(openai.UploadPurposes, []string{openai.PurposeBatchOutput, "assistants_output", "fine-tune-results"})

// Names of the fields of expires_after in a form.
const (
	expiryAnchor  = "expires_after[anchor]"
	expirySeconds = "expires_after[seconds]"
)

func (h *handler) createFile(w http.ResponseWriter, r *http.Request, _ string) (err error) {
	var in *upload.Incoming
	defer func() {
		if in != nil {
			err = errors.Join(err, in.Abort())
		}
	}()
	commit := upload.CommitRequest{}
	form := form{file: "file", limit: h.files.MaxFileBytes(), known: []string{"purpose", "expires_after", expiryAnchor, expirySeconds}}
	form.open = func(ctx context.Context, filename string) (io.Writer, error) {
		if purpose := form.fields["purpose"]; purpose != "" {
			if err := parsePurpose(purpose); err != nil {
				return nil, err // before the whole file was received
			}
		}
		commit.Filename = filename
		begun, err := h.files.Begin(ctx, h.tenant(r), declared(r))
		if err != nil {
			return nil, err
		}
		in = begun
		return in, nil
	}
	if err := form.read(r); err != nil {
		return err
	}
	if in == nil {
		return openai.MissingParameter("file")
	}
	commit.Purpose = openai.PurposeBatch
	if purpose := form.fields["purpose"]; purpose != "" { // BESH treats an empty field as missing
		commit.Purpose = purpose
	}
	if err := parsePurpose(commit.Purpose); err != nil {
		return err
	}
	if commit.TTL, err = expiryOf(form.fields); err != nil {
		return err
	}
	f, err := in.Commit(r.Context(), h.tenant(r), commit)
	if err != nil {
		return err
	}
	return answer(w, wireFile(f))
}

// expiryOf reads expires_after, 0 when it is absent.
func expiryOf(fields map[string]string) (time.Duration, error) {
	if whole, ok := fields["expires_after"]; ok { // OpenAI's client for Ruby sends JSON
		return parseExpiryJSON([]byte(whole))
	}
	anchor, hasAnchor := fields[expiryAnchor]
	seconds, hasSeconds := fields[expirySeconds]
	if !hasAnchor && !hasSeconds {
		return 0, nil
	}
	return parseExpiry(anchor, seconds)
}

func (h *handler) listFiles(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	var q batch.FileQuery
	if q.Purpose, err = query.oneOf("purpose", listedPurposes...); err != nil {
		return err
	}
	if q.Limit, err = query.limit(maxFilePage, maxFilePage); err != nil {
		return err
	}
	order, err := query.oneOf("order", "asc", "desc")
	if err != nil {
		return err
	}
	q.Ascending = order == "asc"
	if q.After, err = query.after(fileObject.id); err != nil {
		return err
	}
	page, more, err := h.files.List(r.Context(), h.tenant(r), q)
	if err != nil {
		return err
	}
	wire := func(f batch.File) openai.File { return h.file(r.Context(), f) }
	return answer(w, list(page, more, wire, func(f batch.File) string { return f.ID }))
}

func (h *handler) getFile(w http.ResponseWriter, r *http.Request, id string) error {
	f, err := h.files.File(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	return answer(w, h.file(r.Context(), f))
}

func (h *handler) deleteFile(w http.ResponseWriter, r *http.Request, id string) error {
	if err := h.files.Delete(r.Context(), h.tenant(r), id); err != nil {
		return err
	}
	return answer(w, openai.Deleted{ID: id, Object: "file", Deleted: true})
}

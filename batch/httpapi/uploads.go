package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func (h *handler) createUpload(w http.ResponseWriter, r *http.Request, _ string) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	request, err := parseUpload(body, h.files.MaxUploadBytes())
	if err != nil {
		return err
	}
	u, err := h.files.CreateUpload(r.Context(), h.tenant(r), request)
	if err != nil {
		return err
	}
	return answer(w, wireUpload(u, batch.File{}))
}

func (h *handler) addPart(w http.ResponseWriter, r *http.Request, id string) (err error) {
	var in *upload.IncomingPart
	defer func() {
		if in != nil {
			err = errors.Join(err, in.Abort())
		}
	}()
	form := form{file: "data", limit: h.files.MaxPartBytes(), open: func(ctx context.Context, _ string) (io.Writer, error) {
		begun, err := h.files.BeginPart(ctx, h.tenant(r), id, declared(r))
		if err != nil {
			return nil, err
		}
		in = begun
		return in, nil
	}}
	if err := form.read(r); err != nil {
		return err
	}
	if in == nil {
		return openai.MissingParameter("data")
	}
	part, err := in.Commit(r.Context())
	if err != nil {
		return err
	}
	return answer(w, wirePart(part))
}

func (h *handler) completeUpload(w http.ResponseWriter, r *http.Request, id string) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	request, err := parseComplete(body)
	if err != nil {
		return err
	}
	u, f, err := h.files.CompleteUpload(r.Context(), h.tenant(r), id, request)
	if err != nil {
		return err
	}
	return answer(w, wireUpload(u, f))
}

func (h *handler) cancelUpload(w http.ResponseWriter, r *http.Request, id string) error {
	u, err := h.files.CancelUpload(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	return answer(w, wireUpload(u, batch.File{}))
}

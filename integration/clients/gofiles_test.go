package clients

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
)

func (c goClient) testFiles(t *testing.T) {
	t.Run("upload and read", func(t *testing.T) {
		content := batchLines(t, "upload", 2000, "")
		file := must[*openai.FileObject](t)(c.upload(t.Context(), "upload", content))
		if file.Bytes != int64(len(content)) || file.Filename != "upload.jsonl" || file.Purpose != "batch" {
			t.Errorf("file %s", file.RawJSON())
		}
		again := must[*openai.FileObject](t)(c.Files.Get(t.Context(), file.ID))
		if again.ID != file.ID || again.CreatedAt != file.CreatedAt || again.ExpiresAt <= again.CreatedAt {
			t.Errorf("file %s, want %s", again.RawJSON(), file.RawJSON())
		}
		if c.content(t, file.ID) != content {
			t.Error("another content came back")
		}
	})
	t.Run("list auto-paging", func(t *testing.T) {
		var mine []string
		for range 7 {
			mine = append(mine, must[*openai.FileObject](t)(c.upload(t.Context(), "page", batchLines(t, "page", 1, ""))).ID)
		}
		slices.Reverse(mine)
		pager := c.Files.ListAutoPaging(t.Context(), openai.FileListParams{Limit: openai.Int(3), Purpose: openai.String("batch")})
		var got []string
		for pager.Next() {
			got = append(got, pager.Current().ID)
		}
		if err := pager.Err(); err != nil {
			t.Fatal(err)
		}
		if len(got) < 7 || !slices.Equal(got[:7], mine) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
			t.Errorf("listed %q, want first %q", got, mine)
		}
	})
	t.Run("delete", func(t *testing.T) {
		file := must[*openai.FileObject](t)(c.upload(t.Context(), "deleted", batchLines(t, "deleted", 1, "")))
		if gone := must[*openai.FileDeleted](t)(c.Files.Delete(t.Context(), file.ID)); !gone.Deleted || gone.ID != file.ID {
			t.Errorf("answer %s", gone.RawJSON())
		}
		_, err := c.Files.Get(t.Context(), file.ID)
		wantError(t, err, http.StatusNotFound, "id", "")
		_, err = c.Files.Delete(t.Context(), file.ID)
		wantError(t, err, http.StatusNotFound, "id", "")
	})
}

func (c goClient) testUploads(t *testing.T) {
	content := batchLines(t, "parts", 100, "")
	half := len(content) / 2
	begin := func() *openai.Upload {
		return must[*openai.Upload](t)(c.Uploads.New(t.Context(), openai.UploadNewParams{
			Bytes: int64(len(content)), Filename: "parts.jsonl", MimeType: "application/jsonl", Purpose: openai.FilePurposeBatch,
		}))
	}
	part := func(id, data string) string {
		return must[*openai.UploadPart](t)(c.Uploads.Parts.New(t.Context(), id, openai.UploadPartNewParams{Data: strings.NewReader(data)})).ID
	}
	t.Run("complete", func(t *testing.T) {
		upload := begin()
		second, first := part(upload.ID, content[half:]), part(upload.ID, content[:half])
		done := must[*openai.Upload](t)(c.Uploads.Complete(t.Context(), upload.ID, openai.UploadCompleteParams{PartIDs: []string{first, second}}))
		if done.Status != openai.UploadStatusCompleted || c.content(t, done.File.ID) != content {
			t.Errorf("upload %s", done.RawJSON())
		}
	})
	t.Run("size does not fit", func(t *testing.T) {
		upload := begin()
		only := part(upload.ID, content[:half])
		_, err := c.Uploads.Complete(t.Context(), upload.ID, openai.UploadCompleteParams{PartIDs: []string{only}})
		if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != http.StatusBadRequest {
			t.Errorf("error %v, want status 400", err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		if gone := must[*openai.Upload](t)(c.Uploads.Cancel(t.Context(), begin().ID)); gone.Status != openai.UploadStatusCancelled {
			t.Errorf("upload %s", gone.RawJSON())
		}
	})
}

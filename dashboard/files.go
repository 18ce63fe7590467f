package dashboard

import (
	"context"
	"net/http"
	"slices"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// filesPerPage is the page size of the list.
const filesPerPage = 50

// purposes are the selectable purposes of files.
var purposes = []string{"batch", "batch_output", "assistants", "fine-tune", "vision", "user_data", "evals"}

func (d *Dashboard) fileList(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Files", "Files")
	query := r.URL.Query()
	q := FileQuery{FileQuery: batch.FileQuery{After: query.Get("after"), Limit: filesPerPage}}
	if q.Text = query.Get("q"); len(q.Text) > maxText {
		return refuse(http.StatusBadRequest, "The search text is too long.")
	}
	if p := query.Get("purpose"); slices.Contains(purposes, p) {
		q.Purpose = p
	}
	page, err := d.source.Files.List(r.Context(), q)
	if err != nil {
		return err
	}
	space, err := d.source.Files.Space(r.Context())
	if err != nil {
		return err
	}
	v := templates.FileList{Purpose: q.Purpose, Text: q.Text, Purposes: purposes, Space: spaceModel(space), Pages: templates.Pages{What: "Pages of files"}}
	for _, f := range page.Files {
		v.Rows = append(v.Rows, fileRow(f))
	}
	if q.After != "" {
		v.Pages.First = s.With(s.To("files"), "purpose", q.Purpose, "q", q.Text)
	}
	if page.More {
		v.Pages.Next = s.With(s.To("files"), "purpose", q.Purpose, "q", q.Text, "after", page.After)
	}
	return d.render(w, r, http.StatusOK, templates.FilesPage(s, v))
}

func spaceModel(space Space) templates.Space {
	v := templates.Space{Total: space.Disk.Total, Free: space.Disk.Free, Reserve: space.Disk.Reserve}
	for _, p := range space.ByPurpose {
		v.Bytes += p.Bytes
		v.Files += p.Files
	}
	for _, p := range space.ByPurpose {
		v.ByPurpose = append(v.ByPurpose, templates.PurposeSpace{Purpose: p.Purpose, Files: p.Files, Bytes: p.Bytes, Share: templates.Share(p.Bytes, v.Bytes)})
	}
	for _, f := range space.Largest {
		v.Largest = append(v.Largest, fileRow(f))
	}
	return v
}

func fileRow(f File) templates.FileRow {
	return templates.FileRow{
		ID: f.ID, Filename: f.Filename, Purpose: f.Purpose, Bytes: f.Bytes, Created: f.CreatedAt, Expires: f.ExpiresAt,
		UsedBy: f.Use.Latest, UsedMore: f.Use.Batches - len(f.Use.Latest), Needed: f.Use.Needed,
	}
}

func (d *Dashboard) fileContent(w http.ResponseWriter, r *http.Request) {
	d.download(w, r, func(ctx context.Context) (Download, error) { return d.source.Files.Content(ctx, r.PathValue("id")) })
}

func (d *Dashboard) askDeleteFile(w http.ResponseWriter, r *http.Request) error {
	f, err := d.source.Files.File(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	s := d.site(r, "Files", "Delete this file?")
	c := templates.Confirmation{
		Title: s.Title, Subject: f.Filename, Text: []string{templates.Bytes(f.Bytes) + " are deleted permanently."},
		Button: "Delete the file", Danger: true, Action: s.To("files", f.ID, "delete"), Back: s.To("files"),
	}
	switch {
	case f.Use.Needed:
		c.Text = append(c.Text, "A batch that has not ended uses it as its input. It keeps the content until it ends.")
	case f.Use.Batches > 0:
		c.Text = append(c.Text, templates.Plural(int64(f.Use.Batches), "batch names it and stays", "batches name it and stay")+", without it.")
	}
	return d.render(w, r, http.StatusOK, templates.ConfirmPage(s, c))
}

func (d *Dashboard) deleteFile(w http.ResponseWriter, r *http.Request) error {
	if err := d.source.Files.Delete(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	d.went(w, r, "deleted", "files")
	return nil
}

package dashboard

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/templates"
)

// windows are the selectable completion windows.
var windows = []time.Duration{time.Hour, 6 * time.Hour, day, 3 * day, 7 * day, 30 * day}

// errCreatesNothing refuses to create a file or a batch on this gateway.
var errCreatesNothing = refuse(http.StatusForbidden, "This gateway only runs batches (role work). Upload files and create batches on the dashboard of a gateway with the role serve or all.")

// errForeign refuses to create something in another tenant than the client's.
var errForeign = refuse(http.StatusForbidden, "New files and batches belong to your own tenant. Select it at the end of the page first.")

// creating returns f if files and batches may be created here.
func (d *Dashboard) creating(f func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !d.creates() {
			return errCreatesNothing
		}
		return f(w, r)
	}
}

// newBatch serves the form for a file or, with one, its findings and the other
// fields.
func (d *Dashboard) newBatch(w http.ResponseWriter, r *http.Request) error {
	if d.foreign(r) {
		return errForeign
	}
	s := d.site(r, "Batches", "New batch")
	v := templates.NewBatch{MaxBytes: d.source.Files.MaxBytes(), Endpoints: openai.BatchEndpoints, MinPriority: minPriority, MaxPriority: maxPriority}
	for _, t := range windows {
		v.Windows = append(v.Windows, templates.Window{Value: t.String(), Name: spanText(t), Chosen: t == day})
	}
	for _, u := range d.current(r).now.Upstreams {
		v.Models = append(v.Models, u.Models...)
	}
	if id := r.URL.Query().Get("file"); id != "" {
		found, err := d.source.Files.Inspect(r.Context(), id)
		if err != nil {
			return err
		}
		v.Found = inspection(found)
	}
	return d.render(w, r, http.StatusOK, templates.NewBatchPage(s, v))
}

func spanText(t time.Duration) string {
	if t >= 2*day {
		return fmt.Sprintf("%d days", t/day)
	}
	if t == time.Hour {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", t/time.Hour)
}

func inspection(in Inspection) *templates.Inspection {
	return &templates.Inspection{
		FileID: in.File.ID, Filename: in.File.Filename, Bytes: in.File.Bytes, Endpoint: in.Endpoint, Lines: in.Lines,
		Findings: firstFindings(in.Seen), FindingsTotal: in.FindingsTotal(), Models: in.Models,
		InputTokens: in.InputTokens, OutputTokens: in.OutputTokens, Duration: in.Duration, Basis: in.Basis,
	}
}

// shownFindings limits the findings of a file on a page.
const shownFindings = 100

func firstFindings(seen engine.Seen) []templates.Finding {
	return findings(seen.Findings[:min(len(seen.Findings), shownFindings)])
}

// fromScript is the header with which the page's script announces that it follows
// Tidegate-Location itself to show the progress of the upload. Its value is the name
// of the upload in requests for the findings so far.
const fromScript = "Tidegate-Upload"

// maxFields limits the size of a form without its file, in bytes.
const maxFields = 1 << 20

// upload stores the file of a form as it arrives. Its time is not limited.
func (d *Dashboard) upload(w http.ResponseWriter, r *http.Request) {
	if !d.creates() {
		d.fail(w, r, errCreatesNothing)
		return
	}
	if d.foreign(r) {
		d.fail(w, r, errForeign)
		return
	}
	each := min(d.source.Files.MaxBytes(), (math.MaxInt64-maxFields)/maxUploads)
	r.Body = http.MaxBytesReader(w, r.Body, each*maxUploads+maxFields)
	seen, ended := d.arrivals.begin(r.Header.Get(fromScript))
	defer ended()
	ids, err := d.takeFiles(r, each, seen)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	s := templates.Site{Base: d.base}
	to := string(s.With(s.To("new"), "file", ids[0], "done", "uploaded"))
	if len(ids) > 1 {
		to = string(s.With(s.To("files"), "purpose", "batch", "done", "stored"))
	}
	if r.Header.Get(fromScript) != "" {
		w.Header().Set("Tidegate-Location", to)
		w.WriteHeader(http.StatusOK)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// maxUploads limits the files of a form.
const maxUploads = 20

// takeFiles stores the files of a form, at least one, in order. If one fails, the
// previous files are kept.
func (d *Dashboard) takeFiles(r *http.Request, each int64, seen func(engine.Seen)) (ids []string, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "The form contains no file.")
	}
	for {
		p, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF) && len(ids) > 0:
			return ids, nil
		case errors.Is(err, io.EOF):
			return nil, refuse(http.StatusBadRequest, "Choose a file first.")
		case err != nil:
			return nil, besides(unreadable(err), ids)
		case p.FormName() != "file":
			continue // NextPart skips unread parts
		case filename(p) == "":
			return nil, besides(refuse(http.StatusBadRequest, "Choose a file first."), ids)
		case len(ids) == maxUploads:
			return nil, besides(refuse(http.StatusBadRequest, "At most %d files can be uploaded at once.", maxUploads), ids)
		}
		id, err := d.source.Files.Upload(r.Context(), filename(p), http.MaxBytesReader(nil, p, each), seen)
		if err != nil {
			return nil, besides(brokenOff(err), ids)
		}
		ids = append(ids, id)
	}
}

// besides adds the files of the form that were stored before to an error.
func besides(err error, stored []string) error {
	if len(stored) == 0 {
		return err
	}
	status, text := answerTo(err)
	if status >= http.StatusInternalServerError {
		return err
	}
	return refuse(status, "%s %s stored before it: see Files.", text, templates.Plural(int64(len(stored)), "file was", "files were"))
}

// filename returns the browser's name of the file, without directories.
func filename(p *multipart.Part) string {
	name := path.Base(strings.ReplaceAll(p.FileName(), `\`, "/"))
	if name == "." || name == "/" {
		return ""
	}
	return name
}

// unreadable returns the error for a form that is invalid, too large or truncated.
func unreadable(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return brokenOff(err)
	}
	if slow, ok := errors.AsType[*openai.Error](err); ok {
		return slow
	}
	return refuse(http.StatusBadRequest, "The form could not be read.")
}

// brokenOff returns the error for a truncated form, or other errors.
func brokenOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(http.StatusBadRequest, "The upload was interrupted.")
	}
	return err
}

// maxMetadata limits the metadata pairs of a batch.
const maxMetadata = 16

func (d *Dashboard) createBatch(w http.ResponseWriter, r *http.Request) error {
	if d.foreign(r) {
		return errForeign
	}
	if !d.form(w, r) {
		return nil
	}
	n := batch.CreateRequest{InputFileID: r.PostForm.Get("file"), Endpoint: r.PostForm.Get("endpoint")}
	if n.InputFileID == "" {
		return refuse(http.StatusBadRequest, "Choose a file first.")
	}
	if !slices.Contains(openai.BatchEndpoints, n.Endpoint) {
		return refuse(http.StatusBadRequest, "Choose an endpoint that batches support.")
	}
	var err error
	if n.Window, err = time.ParseDuration(r.PostForm.Get("window")); err != nil || !slices.Contains(windows, n.Window) {
		return refuse(http.StatusBadRequest, "Choose the completion window of the batch.")
	}
	if n.Priority, err = readPriority(r.PostForm.Get("priority")); err != nil {
		return err
	}
	if n.Metadata, err = readMetadata(r.PostForm.Get("metadata")); err != nil {
		return err
	}
	id, err := d.source.Batches.Create(r.Context(), n)
	if err != nil {
		return err
	}
	d.went(w, r, "created", "batches", id)
	return nil
}

// readMetadata parses a pair from each line: name=value.
func readMetadata(text string) (map[string]string, error) {
	pairs := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, refuse(http.StatusBadRequest, "Metadata must be lines such as name=value.")
		}
		if _, twice := pairs[name]; twice {
			return nil, refuse(http.StatusBadRequest, "The metadata contain a name twice.")
		}
		pairs[name] = value
	}
	if len(pairs) > maxMetadata {
		return nil, refuse(http.StatusBadRequest, "A batch has at most %d metadata pairs.", maxMetadata)
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	return pairs, nil
}

package dashboardtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
)

type files struct{ *Fake }

func (f files) List(_ context.Context, q dashboard.FileQuery) (dashboard.FilePage, error) {
	unlock, err := f.begin()
	if err != nil {
		return dashboard.FilePage{}, err
	}
	defer unlock()
	var page dashboard.FilePage
	reached := q.After == ""
	for _, file := range f.files {
		if !reached {
			reached = file.ID == q.After
			continue
		}
		if q.Purpose != "" && file.Purpose != q.Purpose || !strings.Contains(strings.ToLower(file.Filename+" "+file.ID), strings.ToLower(q.Text)) {
			continue
		}
		if len(page.Files) == q.Limit {
			page.More = true
			break
		}
		page.Files, page.After = append(page.Files, file), file.ID
	}
	if !reached {
		return dashboard.FilePage{}, batch.ErrBadCursor
	}
	return page, nil
}

// file returns one. mu is held.
func (f files) file(id string) (dashboard.File, error) {
	for _, file := range f.files {
		if file.ID == id {
			return file, nil
		}
	}
	return dashboard.File{}, fmt.Errorf("finding file: %w", batch.ErrNotFound)
}

func (f files) File(_ context.Context, id string) (dashboard.File, error) {
	unlock, err := f.begin()
	if err != nil {
		return dashboard.File{}, err
	}
	defer unlock()
	return f.file(id)
}

func (f files) Space(context.Context) (dashboard.Space, error) {
	unlock, err := f.begin()
	if err != nil {
		return dashboard.Space{}, err
	}
	defer unlock()
	s := dashboard.Space{Disk: batch.Space{Total: 200 << 30 * max(1, f.size), Free: 61 << 30 / 10, Reserve: 64 << 20}}
	sums := map[string]*batch.StorageUse{}
	for _, file := range f.files {
		p := sums[file.Purpose]
		if p == nil {
			p = &batch.StorageUse{Purpose: file.Purpose}
			sums[file.Purpose] = p
		}
		p.Files++
		p.Bytes += file.Bytes
	}
	for _, p := range sums {
		s.ByPurpose = append(s.ByPurpose, *p)
	}
	slices.SortFunc(s.ByPurpose, func(a, b batch.StorageUse) int { return int(b.Bytes - a.Bytes) })
	s.Largest = slices.Clone(f.files)
	slices.SortStableFunc(s.Largest, func(a, b dashboard.File) int { return int(b.Bytes - a.Bytes) })
	s.Largest = s.Largest[:min(6, len(s.Largest))]
	return s, nil
}

func (f files) Content(_ context.Context, id string) (dashboard.Download, error) {
	unlock, err := f.begin()
	if err != nil {
		return dashboard.Download{}, err
	}
	defer unlock()
	file, err := f.file(id)
	if err != nil {
		return dashboard.Download{}, err
	}
	content := f.contents[id]
	if content == "" {
		content = "{\"custom_id\":\"row-1\"}\n"
	}
	return dashboard.Download{ReadCloser: io.NopCloser(strings.NewReader(content)), Filename: file.Filename, Bytes: int64(len(content))}, nil
}

func (f files) Delete(_ context.Context, id string) error {
	unlock, err := f.begin("delete", id)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := f.file(id); err != nil {
		return err
	}
	f.files = slices.DeleteFunc(f.files, func(file dashboard.File) bool { return file.ID == id })
	return nil
}

func (f files) Upload(_ context.Context, filename string, content io.Reader, seen func(engine.Seen)) (string, error) {
	all, err := io.ReadAll(io.TeeReader(content, &lookout{files: f, tell: seen}))
	if err != nil {
		return "", fmt.Errorf("reading upload: %w", err)
	}
	unlock, err := f.begin("upload", filename)
	if err != nil {
		return "", err
	}
	defer unlock()
	var file dashboard.File
	file.ID, file.Filename, file.Purpose, file.Bytes, file.CreatedAt = f.id("file-"), filename, "batch", int64(len(all)), f.Clock()
	file.ExpiresAt = file.CreatedAt.Add(30 * 24 * time.Hour)
	f.files = slices.Insert(f.files, 0, file)
	f.contents[file.ID] = string(all)
	return file.ID, nil
}

// Inspect returns a finding for every line without custom_id.
func (f files) Inspect(_ context.Context, id string) (dashboard.Inspection, error) {
	unlock, err := f.begin()
	if err != nil {
		return dashboard.Inspection{}, err
	}
	defer unlock()
	file, err := f.file(id)
	if err != nil {
		return dashboard.Inspection{}, err
	}
	in := dashboard.Inspection{File: file.File, Endpoint: "/v1/chat/completions"}
	for line := range strings.Lines(f.contents[id]) {
		in.Lines++
		if !strings.Contains(line, "custom_id") {
			in.Findings = append(in.Findings, f.nameless(in.Lines, line))
		}
	}
	if f.contents[id] == "" {
		in.Lines, in.Findings = 9_500, f.findings()
		in.Beyond = 412 - int64(len(in.Findings))
	}
	in.Models = []templates.ModelLines{{Model: f.Say(qwen), Lines: in.Lines * 4 / 5, Served: true}, {Model: f.Say("gpt-5-mini"), Lines: in.Lines - in.Lines*4/5}}
	in.InputTokens, in.OutputTokens = in.Lines*812, in.Lines*204
	in.Duration = templates.Estimate{Known: true, Low: 80 * time.Minute, High: 2 * time.Hour}
	in.Basis = "Tokens from 1,000 lines of this file and what these models answered in the last 7 days; the time from batch lines per second in the last hour."
	return in, nil
}

func (files) MaxBytes() int64 { return 512 << 20 }

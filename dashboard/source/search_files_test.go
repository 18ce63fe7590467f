package source

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

// TestSearchFiles checks that every file is found once with every page size, and that a
// search examines a bounded number of files at a time.
func TestSearchFiles(t *testing.T) {
	const all = 12_345
	files := make([]batch.File, all)
	for i := range files {
		files[i] = batch.File{ID: fmt.Sprintf("file-%05d", i), Filename: "other.jsonl"}
		if i%1111 == 7 {
			files[i].Filename = "Nightly-Report.jsonl"
		}
	}
	looked := 0
	list := func(q batch.FileQuery) (page []batch.File, more bool, err error) {
		begin := 0
		if q.After != "" {
			begin = 1 + slices.IndexFunc(files, func(f batch.File) bool { return f.ID == q.After })
		}
		end := min(begin+q.Limit, all)
		looked += end - begin
		return files[begin:end], end < all, nil
	}
	for text, want := range map[string]int{"nightly": 12, "REPORT": 12, "file-00042": 1, "none": 0} {
		for _, limit := range []int{1, 5, 50} {
			q := dashboard.FileQuery{Text: text, FileQuery: batch.FileQuery{Limit: limit}}
			var got []string
			for more := true; more; {
				looked = 0
				found, err := searchFiles(q, list)
				if err != nil {
					t.Fatal(err)
				}
				if looked > searchPage*searchPages || len(found.files) > limit {
					t.Fatalf("examined %d files for a page of %d, found %d", looked, limit, len(found.files))
				}
				for _, f := range found.files {
					got = append(got, f.ID)
				}
				more, q.After = found.more, found.after
			}
			if len(got) != want || !slices.IsSorted(got) || len(slices.Compact(got)) != want {
				t.Errorf("%q, %d a page: found %q, want %d files", text, limit, got, want)
			}
		}
	}
	found, err := searchFiles(dashboard.FileQuery{FileQuery: batch.FileQuery{Limit: 10}}, list)
	if err != nil || len(found.files) != 10 || !found.more || found.after != files[9].ID {
		t.Errorf("without a text: %d files, after %s, %v", len(found.files), found.after, err)
	}
}

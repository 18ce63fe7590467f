package source

import (
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

const (
	searchPage  = 1000 // files read per page
	searchPages = 5    // pages read per search: the next page continues it
)

// filesFound is a page of files. after is the last file that was searched.
type filesFound struct {
	files []batch.File
	more  bool
	after string
}

// searchFiles returns the files whose name or id contains a text. It searches a
// bounded number of files, in index order.
func searchFiles(q dashboard.FileQuery, list func(batch.FileQuery) ([]batch.File, bool, error)) (found filesFound, err error) {
	query := q.FileQuery
	text := strings.ToLower(q.Text)
	pages := 1
	if text != "" {
		query.Limit, pages = searchPage, searchPages
	}
	for range pages {
		var page []batch.File
		if page, found.more, err = list(query); err != nil {
			return filesFound{}, err
		}
		for i, f := range page {
			if !strings.Contains(strings.ToLower(f.Filename), text) && !strings.Contains(f.ID, text) {
				continue
			}
			found.files = append(found.files, f)
			if len(found.files) == q.Limit {
				found.after, found.more = f.ID, found.more || i < len(page)-1
				return found, nil
			}
		}
		if len(page) > 0 {
			query.After = page[len(page)-1].ID
		}
		found.after = query.After
		if !found.more {
			break
		}
	}
	return found, nil
}

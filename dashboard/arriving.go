package dashboard

import (
	"net/http"
	"regexp"
	"sync"

	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/templates"
)

// arrivals contains the findings so far in files that are being uploaded, by the
// names that pages gave them. The zero value is empty.
type arrivals struct {
	mu    sync.Mutex
	known map[string]*arrival // guarded by mu
}

// arrival is an upload in progress.
type arrival struct {
	mu   sync.Mutex
	seen engine.Seen // guarded by mu
}

func (a *arrival) see(seen engine.Seen) {
	a.mu.Lock()
	a.seen = seen
	a.mu.Unlock()
}

// maxArrivals limits the uploads with progress; pages of others show the findings
// when the upload is complete.
const maxArrivals = 100

// uploadName is the format of upload names, which cannot be guessed.
var uploadName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// begin registers an upload. seen must be called with its findings, until ended is
// called.
func (a *arrivals) begin(name string) (seen func(engine.Seen), ended func()) {
	none := func(engine.Seen) {}
	if !uploadName.MatchString(name) {
		return none, func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[name] != nil || len(a.known) == maxArrivals {
		return none, func() {}
	}
	if a.known == nil {
		a.known = make(map[string]*arrival)
	}
	one := new(arrival)
	a.known[name] = one
	return one.see, func() {
		a.mu.Lock()
		delete(a.known, name)
		a.mu.Unlock()
	}
}

// seen returns the findings so far in an upload, if it is in progress here.
func (a *arrivals) seen(name string) (engine.Seen, bool) {
	a.mu.Lock()
	one := a.known[name]
	a.mu.Unlock()
	if one == nil {
		return engine.Seen{}, false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.seen, true
}

// seenSoFar is the header that summarizes the findings so far in an upload.
const seenSoFar = "Tidegate-Seen"

// arriving serves the findings so far in a file that is being uploaded: an empty
// response while there are none, and 204 if the upload is not known.
func (d *Dashboard) arriving(w http.ResponseWriter, r *http.Request) error {
	seen, known := d.arrivals.seen(r.URL.Query().Get("upload"))
	if !known {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	text := templates.Count(seen.Lines) + " requests checked so far"
	total := seen.FindingsTotal()
	if total > 0 {
		text += ", findings: " + templates.Count(int64(total))
	}
	w.Header().Set(seenSoFar, text)
	if total == 0 {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return d.render(w, r, http.StatusOK, templates.ArrivingFindings(firstFindings(seen), total))
}

package dashboard

import (
	"net/http"
	"regexp"
	"sync"

	"github.com/tidegate/tidegate/templates"
)

// arrivals are what was found so far in files whose upload is under way, by the
// names that pages gave these. The zero value has none.
type arrivals struct {
	mu    sync.Mutex
	known map[string]*arrival // guarded by mu
}

// arrival is an upload that is under way.
type arrival struct {
	mu   sync.Mutex
	seen Arriving // guarded by mu
}

func (a *arrival) see(seen Arriving) {
	a.mu.Lock()
	a.seen = seen
	a.mu.Unlock()
}

// maxArrivals is how many uploads can be asked for at a time; of others the page
// shows what was found when all has arrived.
const maxArrivals = 100

// uploadName is what names of uploads look like: nobody guesses that of another.
var uploadName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// begin takes in that an upload begins. Seen is to be told what is found in it,
// until ended is called.
func (a *arrivals) begin(name string) (seen func(Arriving), ended func()) {
	none := func(Arriving) {}
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

// seen gives what was found in an upload so far, if it is under way here.
func (a *arrivals) seen(name string) (Arriving, bool) {
	a.mu.Lock()
	one := a.known[name]
	a.mu.Unlock()
	if one == nil {
		return Arriving{}, false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.seen, true
}

// seenSoFar is the header that sums up what was found in an upload so far.
const seenSoFar = "Tidegate-Seen"

// arriving shows what was found so far in a file whose upload is under way:
// nothing while there are no findings, and 204 when the upload is not known.
func (d *Dashboard) arriving(w http.ResponseWriter, r *http.Request) error {
	seen, known := d.arrivals.seen(r.URL.Query().Get("upload"))
	if !known {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	text := templates.Count(seen.Lines) + " requests checked so far"
	if seen.FindingsTotal > 0 {
		text += ", findings: " + templates.Count(int64(seen.FindingsTotal))
	}
	w.Header().Set(seenSoFar, text)
	if seen.FindingsTotal == 0 {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return d.render(w, r, http.StatusOK, templates.ArrivingFindings(findings(seen.Findings), seen.FindingsTotal))
}

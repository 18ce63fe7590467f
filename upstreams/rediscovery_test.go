package upstreams

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listing answers GET /v1/models with configured models, and counts requests.
type listing struct {
	models atomic.Pointer[[]string]
	asked  atomic.Int64
}

func (l *listing) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.asked.Add(1)
	var data []string
	for _, m := range *l.models.Load() {
		data = append(data, fmt.Sprintf(`{"id":%q,"object":"model"}`, m))
	}
	fmt.Fprintf(w, `{"object":"list","data":[%s]}`, strings.Join(data, ","))
}

// A model that a server has loaded since it told its models is found by the first
// request for it.
func TestModelIsLoadedLater(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		var l listing
		l.models.Store(&[]string{model})
		set(&w.b.listed, l.ServeHTTP)
		pass(time.Minute)
		if code := w.ask(t, "lora"); code != http.StatusNotFound {
			t.Fatalf("status %d before it is loaded", code)
		}
		if known, discovered := w.pool.Serves("lora"); known || !discovered {
			t.Errorf("known %t, discovered %t before it is loaded", known, discovered)
		}
		l.models.Store(&[]string{model, "lora"})
		pass(rediscoverInterval)
		if code := w.ask(t, "lora"); code != http.StatusOK {
			t.Errorf("status %d for a model that was loaded", code)
		}
		if w.b.calls.Load() != 1 {
			t.Errorf("%d requests reached its server", w.b.calls.Load())
		}
		l.models.Store(&[]string{model, "lora", "other"})
		pass(rediscoverInterval)
		if known, _ := w.pool.Serves("other"); !known {
			t.Error("a batch finds no model that was loaded")
		}
	})
}

// TestUnknownModelsAreAskedForOnceASecond checks that any number of requests for an unknown
// model triggers one read of the servers' models per second.
func TestUnknownModelsAreAskedForOnceASecond(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		var l listing
		l.models.Store(&[]string{model})
		set(&w.a.listed, l.ServeHTTP)
		pass(time.Minute)
		before := l.asked.Load()
		for range 100 { // in ten seconds
			if code := w.ask(t, "nope"); code != http.StatusNotFound {
				t.Fatalf("status %d", code)
			}
			pass(100 * time.Millisecond)
		}
		if n := l.asked.Load() - before; n < 9 || n > 12 {
			t.Errorf("asked %d times in 10 s", n)
		}
	})
}

// A server that does not answer holds a request for an unknown model up for a
// moment only, and the others are heard.
func TestServerThatDoesNotTellItsModels(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		pass(time.Minute)
		set(&w.a.listed, hang)
		var l listing
		l.models.Store(&[]string{model, "lora"})
		set(&w.b.listed, l.ServeHTTP)
		begun := time.Now()
		if code := w.ask(t, "nope"); code != http.StatusNotFound || time.Since(begun) > rediscoverTimeout {
			t.Errorf("status %d after %s", code, time.Since(begun))
		}
		if code := w.ask(t, "lora"); code != http.StatusOK {
			t.Errorf("status %d for a model of the other server", code)
		}
	})
}

package s3

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/batch/files/filestest"
)

func place(t *testing.T, f *Files) string {
	t.Helper()
	word, err := f.Place(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return word
}

// TestPlace checks that gateways have the same contents if and only if they return the
// same place, independent of its name.
func TestPlace(t *testing.T) {
	s := serve(t)
	here := place(t, s.files())
	if again := place(t, s.files()); again != here || !strings.HasPrefix(here, "s3 ") {
		t.Errorf("places %q and %q", here, again)
	}
	alias := s.config()
	alias.Endpoint = strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	if other := place(t, s.open(alias)); other != here {
		t.Errorf("by another name of the service: %q, not %q", other, here)
	}
	prefix := s.config()
	prefix.Prefix = "elsewhere"
	if other := place(t, s.open(prefix)); other == here {
		t.Errorf("another prefix is %q too", other)
	}
	// Another service that has the same name on its own machine.
	if other := place(t, serve(t).files()); other == here {
		t.Errorf("another service is %q too", other)
	}
	if keys := filestest.Keys(t, s.files()); len(keys) > 0 {
		t.Errorf("the place is listed: %q", keys)
	}
}

// TestPlaceOfManyAtOnce checks that concurrent calls return the same place.
func TestPlaceOfManyAtOnce(t *testing.T) {
	s := serve(t)
	var coming sync.WaitGroup
	places := make([]string, 16)
	for i := range places {
		f := s.files()
		coming.Go(func() {
			var err error
			if places[i], err = f.Place(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	coming.Wait()
	for _, p := range places {
		if p != places[0] || p == "" {
			t.Fatalf("places %q", places)
		}
	}
}

func TestPlaceOverFaults(t *testing.T) {
	s := serve(t)
	f := s.files()
	for kind, fault := range map[string]faultFunc{"get": hangUp, "put": hangUpAfter} {
		s.fail(kind, 2, fault)
	}
	here := place(t, f)
	s.fail("get", 1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
		_, _ = w.Write([]byte("<html>welcome</html>"))
	})
	if got, err := f.Place(t.Context()); err == nil || !strings.Contains(err.Error(), "does not hold one") {
		t.Errorf("rubbish is the place %q, %v", got, err)
	}
	if again := place(t, f); again != here {
		t.Errorf("places %q and %q", here, again)
	}
}

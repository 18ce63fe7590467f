package upstreams

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
)

// A request that names no model shows a client that is limited to some models no other one,
// on any route. It finds an error that lists the models of all clients, and one about the
// only model of the pool.
func TestRequestsWithoutAModelShowModelsOfTheKey(t *testing.T) {
	a, b := newFake(t, "mine", "secret-1"), newFake(t, "mine-too", "secret-2")
	only := newFake(t, "secret-3")
	several, single := startPool(t, calm(a.URL, b.URL)), startPool(t, calm(only.URL))
	for name, tt := range map[string]struct {
		pool    *Pool
		models  []string
		shown   string
		refused int
	}{
		"two of four":        {several, []string{"mine", "mine-too"}, "The models are: 'mine', 'mine-too'.", 400},
		"one of four":        {several, []string{"mine"}, "The models are: 'mine'.", 400},
		"none of four":       {several, []string{"none-such"}, "Missing required parameter: 'model'.", 400},
		"none of one":        {single, []string{"none-such"}, "Missing required parameter: 'model'.", 400},
		"one that is hidden": {single, []string{"mine"}, "Missing required parameter: 'model'.", 400},
	} {
		x := NewProxy(tt.pool, zap.NewNop(), func(context.Context, LiveRequest) {})
		client := access.Identity{KeyID: "key_1", Scopes: []access.Scope{access.Live}, Models: tt.models}
		for _, path := range LivePaths() {
			body, contentType := `{"messages":[]}`, "application/json"
			if routes[path].form {
				body, contentType = "--x\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nde\r\n--x--\r\n", "multipart/form-data; boundary=x"
			}
			r := httptest.NewRequestWithContext(access.With(t.Context(), client), http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			x.ServeHTTP(w, r)
			text := w.Body.String()
			if w.Code != tt.refused || !strings.Contains(text, tt.shown) || strings.Contains(text, "secret") {
				t.Errorf("%s, %s: got %d %s, want %d with %q and no other model", name, path, w.Code, text, tt.refused, tt.shown)
			}
		}
	}
}

// The list of models in the error has an end, also if the client may not use the first ones.
func TestListedModels(t *testing.T) {
	var models, own []string
	for i := range 3 * listedModels {
		models = append(models, fmt.Sprintf("model-%02d", i))
	}
	own = models[listedModels:]
	f := newFake(t, models...)
	x := NewProxy(startPool(t, calm(f.URL)), zap.NewNop(), func(context.Context, LiveRequest) {})
	for name, tt := range map[string]struct {
		models []string
		want   string
	}{
		"more":        {own, "'" + strings.Join(own[:listedModels], "', '") + "', …."},
		"just enough": {own[:listedModels], "'" + strings.Join(own[:listedModels], "', '") + "'."},
		"all":         {nil, "'" + strings.Join(models[:listedModels], "', '") + "', …."},
	} {
		client := access.Identity{Scopes: []access.Scope{access.Live}, Models: tt.models}
		w := httptest.NewRecorder()
		x.ServeHTTP(w, httptest.NewRequestWithContext(access.With(t.Context(), client), http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"messages":[]}`)))
		if want := "The models are: " + tt.want; !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %s, want %s", name, w.Body, want)
		}
	}
}

package upstreams

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// TestModelToldWhileAskedFor checks that a request for a model that arrives while the server's
// models are being read gets a 503 or is served, but never a 404.
func TestModelToldWhileAskedFor(t *testing.T) {
	told := &discovery{models: []openai.Model{{ID: model}}}
	ask := func(method, path, body string) func(p *Pool) (unknown bool) {
		return func(p *Pool) bool {
			w := httptest.NewRecorder()
			NewProxy(p, zap.NewNop(), nil).ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
			return w.Code == http.StatusNotFound
		}
	}
	up := func(p *Pool) (unknown bool) { return errors.Is(p.Up(model), ErrUnknownModel) }
	reserve := func(p *Pool) (unknown bool) {
		slot, err := p.Reserve(model, "")
		if err == nil {
			slot.Release()
		}
		return errors.Is(err, ErrUnknownModel)
	}
	for name, unknown := range map[string]func(*Pool) bool{
		"live":    ask(http.MethodPost, "/v1/chat/completions", chatBody(model)),
		"models":  ask(http.MethodGet, "/v1/models/"+model, ""),
		"up":      up,
		"reserve": reserve,
	} {
		t.Run(name, func(t *testing.T) {
			for range 300 {
				p := NewPool(zap.NewNop())
				if err := p.Apply(calm("http://127.0.0.1:1")); err != nil {
					t.Fatal(err)
				}
				begun, done := make(chan struct{}), make(chan struct{})
				var asking sync.WaitGroup
				asking.Go(func() {
					close(begun)
					for {
						select {
						case <-done:
							return
						default:
						}
						if unknown(p) {
							t.Error("the model is called unknown")
							return
						}
					}
				})
				<-begun
				p.probeOK(p.upstreams[0], told)
				close(done)
				asking.Wait()
				if t.Failed() {
					return
				}
			}
		})
	}
}

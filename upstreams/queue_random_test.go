package upstreams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestNoSeatIsLost checks that with random requests and servers no slot is leaked.
func TestNoSeatIsLost(t *testing.T) {
	const clients, each = 40, 30
	a, b := newFake(t), newFake(t)
	var p *Pool
	for _, f := range []*fake{a, b} {
		set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
			if live, _ := p.now.Load().upstreams[0].counts(); live > 3+1 { // a trial may be one too many
				t.Errorf("%d live requests on a server of 3", live)
			}
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			switch rand.IntN(12) {
			case 0:
				answerStatus(http.StatusInternalServerError, "application/json", `{"error":{"message":"no","type":"x","code":500}}`)(w, r)
			case 1:
				panic(http.ErrAbortHandler)
			case 2:
				answerStatus(http.StatusTooManyRequests, "application/json", `{"error":{"message":"full","type":"x","code":429}}`)(w, r)
			default:
				answerJSON(w, r)
			}
		})
	}
	cfg := quick(a.URL, b.URL)
	cfg.Upstreams[0].MaxNumSeqs, cfg.Upstreams[1].MaxNumSeqs = 3, 3
	cfg.QueueSize, cfg.QueueTimeout = 20, 30*time.Millisecond
	p = startPool(t, cfg)
	x := NewProxy(p, zap.NewNop(), nil)
	var statuses [600]atomic.Int64
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(40))*time.Millisecond)
				body := chatBody(model)
				if rand.IntN(3) == 0 {
					body = flexBody
				}
				r := httptest.NewRequest(http.MethodPost, endpoint, strings.NewReader(body)).WithContext(ctx)
				r.Header.Set("Authorization", fmt.Sprint("Bearer ", client%5))
				w := httptest.NewRecorder()
				x.ServeHTTP(w, r)
				statuses[w.Code].Add(1)
				cancel()
			}
		})
	}
	stop := make(chan struct{})
	all.Go(func() { // batch lines beside them
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s, err := p.Reserve(model, ""); err == nil {
				s.Release()
			} else if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrDown) {
				t.Errorf("Reserve: %v", err)
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
	var changes sync.WaitGroup
	changes.Go(func() { // reloads and drains
		for i := range 60 {
			next := cfg
			next.Upstreams = slices.Clone(cfg.Upstreams)
			next.Upstreams[1].MaxNumSeqs = 1 + i%3
			if err := p.Apply(next); err != nil {
				t.Error(err)
			}
			if err := errors.Join(p.Drain(a.URL), p.Undrain(a.URL)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	changes.Wait()
	close(stop)
	all.Wait()
	wantIdle(t, p)
	wantWaiting(t, p, 0)
	if !p.queue.empty() {
		t.Errorf("%d live and %d flex requests are counted as waiting, want none", p.queue.waiting[Live].Load(), p.queue.waiting[Batch].Load())
	}
	if statuses[http.StatusOK].Load() == 0 || statuses[http.StatusTooManyRequests].Load() == 0 {
		t.Errorf("%d requests were answered and %d refused, want some of each", statuses[http.StatusOK].Load(), statuses[http.StatusTooManyRequests].Load())
	}
}

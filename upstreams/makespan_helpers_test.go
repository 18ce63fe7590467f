//go:build !race

package upstreams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// A makespan is measured with the batch engine on a pool of simulated GPUs, in a time of
// its own. The time that the gateway itself takes does not count.

// sharedJob is a batch whose lines share prefixes in groups, in tokens.
type sharedJob struct {
	groups, lines         int
	shared, own, generate int
	shuffled              bool
}

// job returns the requests of the lines, and the group of each.
func (j sharedJob) job() *job {
	var all job
	for g := range j.groups {
		for n := range j.lines {
			document := fmt.Sprintf("Document %06d: ", g)
			document += strings.Repeat("tide ", 4*j.shared/5)[:4*j.shared-len(document)]
			head := fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[{"role":"user","content":"%s%06d `, model, j.generate, document, n)
			tail := fmt.Sprintf(` [[sim:tokens=%d]]"}]}`, j.generate)
			body := head + strings.Repeat("gate ", 4*(j.shared+j.own))[:4*(j.shared+j.own)-len(head)-len(tail)] + tail
			all.bodies, all.groups = append(all.bodies, body), append(all.groups, g)
		}
	}
	if j.shuffled {
		rand.New(rand.NewPCG(15, 0)).Shuffle(len(all.bodies), func(a, b int) {
			all.bodies[a], all.bodies[b] = all.bodies[b], all.bodies[a]
			all.groups[a], all.groups[b] = all.groups[b], all.groups[a]
		})
	}
	return &all
}

// job is the lines of a batch.
type job struct {
	bodies []string
	groups []int // of the lines
}

// makespan is the result of a job.
type makespan struct {
	took    time.Duration
	history []string // of the servers, for diagnosis
	prompt  float64  // tokens of all prompts that the servers read
	cached  float64  // of these, tokens that were in a prefix cache
}

func (m *makespan) String() string {
	return fmt.Sprintf("%v, %.0f prompt tokens computed of %.0f", m.took, m.computed(), m.prompt)
}

// computed returns the prompt tokens that were in no cache.
func (m *makespan) computed() float64 { return m.prompt - m.cached }

// sticky sends each group to one server, group after group, with a number of requests
// in flight for each server.
func (j *job) sticky(t *testing.T, servers []gpu, inFlight int) *makespan {
	t.Helper()
	m := new(makespan)
	onGPUs(t, servers, func(t *testing.T, w *gpus) {
		client := &http.Client{Transport: &http.Transport{DialContext: w.net.dial, MaxIdleConnsPerHost: 1000}}
		defer client.CloseIdleConnections()
		m.measure(t, w, func() {
			var work sync.WaitGroup
			for server := range servers {
				queue := make(chan string)
				work.Go(func() {
					defer close(queue)
					for _, i := range j.byGroup() {
						if j.groups[i]%len(servers) == server {
							queue <- j.bodies[i]
						}
					}
				})
				for range inFlight {
					work.Go(func() {
						for body := range queue {
							answer, err := client.Post(fmt.Sprintf("http://%d%s", server, endpoint), "application/json", strings.NewReader(body))
							if err != nil {
								t.Error(err)
								continue
							}
							_, _ = io.Copy(io.Discard, answer.Body)
							answer.Body.Close()
						}
					})
				}
			}
			work.Wait()
		})
	})
	return m
}

// byGroup returns the lines group after group.
func (j *job) byGroup() []int {
	all := make([]int, len(j.groups))
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(a, b int) int { return j.groups[a] - j.groups[b] })
	return all
}

// batch runs the job as a batch, from its creation to its end.
func (j *job) batch(t *testing.T, servers []gpu, cfg batch.Config) *makespan {
	t.Helper()
	m := new(makespan)
	onGPUs(t, servers, func(t *testing.T, w *gpus) {
		h := batchtest.New(t, cfg)
		h.Store = batchtest.NewHookedStore(h.NewStore())
		engine := batchtest.NewEngine(cfg, h.Store, h.NewFiles(), poolDispatcher{w.pool})
		if err := engine.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		engine.Start()
		h.Adopt(engine)
		var input bytes.Buffer
		for i, body := range j.bodies {
			fmt.Fprintf(&input, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", i, body)
		}
		file := h.Upload(input.String())
		m.measure(t, w, func() {
			id := h.Create(file)
			for !h.Get(id).Status.Terminal() {
				time.Sleep(10 * time.Millisecond)
			}
			if b := h.Get(id); b.Counts.Completed != int64(len(j.bodies)) {
				t.Errorf("got %+v, want %d completed lines", b.Counts, len(j.bodies))
			}
		})
		h.Close(time.Second)
	})
	return m
}

// measure records what the servers do during work.
func (m *makespan) measure(t *testing.T, w *gpus, work func()) {
	began := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			line := fmt.Sprintf("%5.2f s:", time.Since(began).Seconds())
			for i, s := range w.sims {
				now, u := s.Stats(), w.pool.upstreams[i]
				_, lines := u.counts()
				usage := 0.0
				if now.Engine != nil {
					usage = now.Engine.KVUsage
				}
				line += fmt.Sprintf(" | %d+%d kv %.2f, %d of %d %s", now.Running, now.Waiting, usage, lines, u.limit.Load(), u.placement())
			}
			m.history = append(m.history, line)
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	work()
	m.took = time.Since(began)
	close(stop)
	<-stopped
	time.Sleep(time.Second) // until the metrics are current
	for _, u := range w.pool.upstreams {
		w.pool.scrape(t.Context(), w.pool.now.Load(), u)
		m.prompt, m.cached = m.prompt+u.gauges.prompt, m.cached+u.gauges.hits
	}
}

// poolDispatcher is a pool as a batch.Dispatcher.
type poolDispatcher struct{ *Pool }

func (d poolDispatcher) Reserve(model, avoid string, fit func(upstream string) bool) (batch.Slot, error) {
	s, err := d.Pool.ReserveFit(model, avoid, fit)
	if err != nil {
		return nil, batchError(err)
	}
	return poolSlot{s}, nil
}

func (d poolDispatcher) Up(model string) error { return batchError(d.Pool.Up(model)) }

func (poolDispatcher) Capabilities() batch.DispatcherCapabilities {
	return batch.DispatcherCapabilities{}
}

func batchError(err error) error {
	switch {
	case errors.Is(err, ErrBusy):
		return batch.ErrBusy
	case errors.Is(err, ErrUnknownModel):
		return batch.ErrUnknownModel
	case err != nil:
		return batch.ErrDown
	}
	return nil
}

type poolSlot struct{ *Slot }

func (s poolSlot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	a, err := s.Slot.Send(ctx, path, body)
	if err != nil {
		return batch.Answer{}, err
	}
	return batch.Answer{Status: a.Status, Header: a.Header, Body: a.Body, RequestID: a.RequestID, Next: batch.Next(a.Next), Reason: a.Reason}, nil
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	crowdBatches = 10_000 // that wait
	crowdSize    = 20     // lines of each
	crowdLines   = 50_000 // of the batch that goes before them
	crowdMakers  = 8      // clients that create batches
	crowdIdle    = 10 * time.Second
)

// crowdWork is the cost of a piece of work.
type crowdWork struct {
	Lines   int64   `json:"lines"` // that got their results meanwhile, of all batches
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"lines_per_second"`
	CPU     float64 `json:"cpu_us_per_line"` // of the gateway and PostgreSQL, in microseconds
}

// crowdReport is the result of an installation.
type crowdReport struct {
	Alone    crowdWork `json:"alone"`      // a batch alone
	Idle     float64   `json:"idle_cores"` // processor time per second while all of the others wait for a server
	Beside   crowdWork `json:"beside"`     // a batch that goes before the others
	CPURatio float64   `json:"cpu_ratio"`
	Others   crowdWork `json:"others"` // the others, when it is done
}

// measureCrowd measures the additional processor time per line of a running batch due to
// 10,000 waiting batches, and then the processor time of these.
func measureCrowd(ctx context.Context, b *bench) (any, error) {
	shared, err := startBackends(ctx)
	if err != nil {
		return nil, err
	}
	defer shared.stop()
	report := make(map[string]any)
	for _, kind := range []string{"embedded", "shared"} {
		c := configured{}
		if c.data, err = os.MkdirTemp(b.dir, "data-"); err != nil {
			return nil, fmt.Errorf("making data directory: %w", err)
		}
		if kind == "shared" {
			if c.app, err = shared.drivers(ctx, "crowd"); err != nil {
				return nil, err
			}
		}
		r, err := b.crowd(ctx, c, shared.db.pid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		fmt.Printf("crowd, %s: alone %.0f lines/s and %.0f µs of processor time per line; with %d batches waiting %.0f lines/s and %.0f µs, ratio %.2f; these %.0f lines/s and %.0f µs; %.2f of a core while they wait\n",
			kind, r.Alone.Rate, r.Alone.CPU, crowdBatches, r.Beside.Rate, r.Beside.CPU, r.CPURatio, r.Others.Rate, r.Others.CPU, r.Idle)
		report[kind] = r
	}
	return report, nil
}

func (b *bench) crowd(ctx context.Context, c configured, database int) (r crowdReport, err error) {
	slots := []string{"--max-num-seqs", "512"}
	sim, err := b.startSim(ctx, slots...)
	if err != nil {
		return r, err
	}
	defer func() { sim.stop() }()
	c.upstreams = []*process{sim}
	gateway, err := b.startConfigured(ctx, c)
	if err != nil {
		return r, err
	}
	defer gateway.stop()
	m := crowdMeter{gateway: gateway.addr, servers: map[string]int{"gateway": gateway.cmd.Process.Pid, "postgres": database}}
	if _, err := runBatch(ctx, gateway.addr, sharedWarmup, 40); err != nil {
		return r, fmt.Errorf("warming up: %w", err)
	}
	large, err := uploadInput(ctx, gateway.addr, crowdLines, 40)
	if err != nil {
		return r, err
	}
	small, err := uploadInput(ctx, gateway.addr, crowdSize, 40)
	if err != nil {
		return r, err
	}
	first := func() error { return m.runFirst(ctx, large) }
	if r.Alone, err = m.measure(ctx, first); err != nil {
		return r, err
	}
	sim.stop()
	if err := m.gather(ctx, small); err != nil {
		return r, err
	}
	idle, err := m.measure(ctx, func() error { return pause(ctx, crowdIdle) })
	if err != nil {
		return r, err
	}
	r.Idle = idle.CPU / 1e6 / idle.Seconds
	if sim, err = b.startSimAt(ctx, sim.addr, slots...); err != nil {
		return r, err
	}
	if r.Beside, err = m.measure(ctx, first); err != nil {
		return r, err
	}
	r.CPURatio = r.Beside.CPU / r.Alone.CPU
	r.Others, err = m.measure(ctx, func() error { return m.until(ctx, func(active int64) bool { return active == 0 }) })
	return r, err
}

// crowdMeter watches a gateway.
type crowdMeter struct {
	gateway string
	servers map[string]int // process ids
	first   int64          // lines of batches that went before the others
}

// active returns the number of batches that have not ended.
func (m *crowdMeter) active(ctx context.Context) (int64, error) {
	var status struct {
		Active int64 `json:"active_batches_in_db"`
	}
	err := call(ctx, http.MethodGet, "http://"+m.gateway+"/v1/batches/status", "", nil, &status)
	return status.Active, err
}

// until waits for a number of batches that are not over.
func (m *crowdMeter) until(ctx context.Context, enough func(active int64) bool) error {
	for {
		active, err := m.active(ctx)
		if err != nil || enough(active) {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// measure returns the cost of work. If no line got its result, the time is that of all
// work.
func (m *crowdMeter) measure(ctx context.Context, work func() error) (w crowdWork, err error) {
	was, err := m.active(ctx)
	if err != nil {
		return w, err
	}
	before, err := cpuOfAll(m.servers)
	if err != nil {
		return w, err
	}
	m.first = 0
	begin := time.Now()
	if err := work(); err != nil {
		return w, err
	}
	w.Seconds = time.Since(begin).Seconds()
	after, err := cpuOfAll(m.servers)
	if err != nil {
		return w, err
	}
	left, err := m.active(ctx)
	if err != nil {
		return w, err
	}
	w.Lines = m.first + (was-left)*crowdSize
	w.Rate = float64(w.Lines) / w.Seconds
	for name := range m.servers {
		w.CPU += float64((after[name] - before[name]).Microseconds()) / float64(max(w.Lines, 1))
	}
	return w, nil
}

// gather creates the batches that wait and waits until all are validated, by the
// last of them.
func (m *crowdMeter) gather(ctx context.Context, fileID string) error {
	makers, making := errgroup.WithContext(ctx)
	makers.SetLimit(crowdMakers)
	for range crowdBatches {
		makers.Go(func() error {
			_, err := createBatch(making, m.gateway, fileID)
			return err
		})
	}
	if err := makers.Wait(); err != nil {
		return err
	}
	last, err := createBatch(ctx, m.gateway, fileID)
	for err == nil && last.Status == "validating" {
		if err = pause(ctx, 100*time.Millisecond); err == nil {
			err = call(ctx, http.MethodGet, "http://"+m.gateway+"/v1/batches/"+last.ID, "", nil, &last)
		}
	}
	return err
}

// runFirst runs a batch that goes before all others.
func (m *crowdMeter) runFirst(ctx context.Context, fileID string) error {
	created, err := createUrgent(ctx, m.gateway, fileID, 10)
	if err != nil {
		return err
	}
	m.first = crowdLines
	_, err = waitBatch(ctx, m.gateway, created.ID, nil)
	return err
}

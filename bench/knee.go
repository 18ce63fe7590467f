package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

const (
	kneeElasticity = 0.4  // of throughput in concurrency, where more does not pay any more
	kneeLow        = 0.95 // of the true knee: the limit is found when it stays between these
	kneeHigh       = 1.10
	kneeEvery      = 500 * time.Millisecond
	kneeGoal       = 20 * time.Second
)

// kneeOf returns the best number of lines for a server: where the elasticity of its
// throughput falls to kneeElasticity, and at most its number of slots. By the formula of
// the engine, n sequences with P prompt and G generated tokens produce n·G tokens in G
// steps of base + n·a and n·P/rate of prefill, where a is the time of a decode and its
// context. So the elasticity is
// base ÷ (base + n·(a + P/(G·rate))).
func kneeOf(spec engine.Spec, prompt, generate, maxNumSeqs int) int {
	per := spec.PerDecode + time.Duration(prompt+generate/2)*spec.PerContextToken +
		time.Duration(prompt)*time.Second/time.Duration(generate*spec.PrefillRate)
	n := (1 - kneeElasticity) / kneeElasticity * float64(spec.StepBase) / float64(per)
	return min(int(n), maxNumSeqs)
}

// kneeSample is the gateway's state of its server at one time.
type kneeSample struct {
	Seconds float64 `json:"s"` // since the capacity changed
	Limit   int     `json:"limit"`
	Reason  string  `json:"limit_reason"`
	Batch   int     `json:"batch_in_flight"`
}

// kneePhase is the time with one capacity of the server.
type kneePhase struct {
	MaxNumSeqs int          `json:"max_num_seqs"`
	Knee       int          `json:"knee"`
	Found      float64      `json:"found_after_s"` // from when on the limit stayed near the knee; -1 for never
	AtGoal     float64      `json:"limit_of_knee_after_20s"`
	AtEnd      float64      `json:"limit_of_knee_at_end"`
	Samples    []kneeSample `json:"samples"`
}

// measureKnee records the limit that the gateway finds for a server while a batch runs:
// after the start, and after each replacement of the server by one with another capacity,
// because vLLM cannot change its capacity.
func measureKnee(ctx context.Context, b *bench) (any, error) {
	o := &b.fleet
	capacities, err := numbers(o.seqs)
	if err != nil {
		return nil, fmt.Errorf("-knee-seqs: %w", err)
	}
	withPlaces := func(n int) []string {
		return append(o.args(), "--engine", simulatedEngine, "--max-num-seqs", strconv.Itoa(n))
	}
	server, err := b.startSim(ctx, withPlaces(capacities[0])...)
	if err != nil {
		return nil, err
	}
	servers := fleet{server}
	defer func() { servers.stop() }()
	gateway, err := b.startGateway(ctx, servers)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	if err := fleetWork.submit(ctx, gateway, o.batchesFor(time.Duration(len(capacities))*o.phase, 1), o.lines); err != nil {
		return nil, err
	}
	var phases []kneePhase
	var lost time.Duration
	for i, n := range capacities {
		if i > 0 {
			servers.stop()
			if servers[0], err = b.startSimAt(ctx, server.addr, withPlaces(n)...); err != nil {
				servers = nil
				return nil, err
			}
		}
		p := kneePhase{MaxNumSeqs: n, Knee: kneeOf(engine.Specs[simulatedEngine], fleetLinePrompt, fleetLineTokens, n)}
		if p.Samples, err = watchLimit(ctx, gateway, o.phase); err != nil {
			return nil, err
		}
		p.judge()
		l, err := servers.lost(ctx)
		if err != nil {
			return nil, err
		}
		lost += l
		fmt.Printf("knee: %d places, knee %d: found after %.1f s (-1: never), limit ÷ knee %.2f after 20 s, %.2f at the end\n", p.MaxNumSeqs, p.Knee, p.Found, p.AtGoal, p.AtEnd)
		phases = append(phases, p)
	}
	if lost > 0 {
		fmt.Printf("VOID: the servers lost %s\n", lost)
	}
	return map[string]any{"phases": phases, "lost_seconds": lost.Seconds()}, nil
}

// judge finds from when on the limit stayed near the knee.
func (p *kneePhase) judge() {
	p.Found = -1
	for _, s := range p.Samples {
		ratio := float64(s.Limit) / float64(p.Knee)
		near := ratio >= kneeLow && ratio <= kneeHigh
		switch {
		case !near:
			p.Found = -1
		case p.Found < 0:
			p.Found = s.Seconds
		}
		if s.Seconds <= kneeGoal.Seconds() {
			p.AtGoal = ratio
		}
		p.AtEnd = ratio
	}
}

// watchLimit samples the state of the gateway's only server for d.
func watchLimit(ctx context.Context, gateway *process, d time.Duration) ([]kneeSample, error) {
	var all []kneeSample
	for start := time.Now(); time.Since(start) < d; {
		var health struct {
			Upstreams []kneeSample `json:"upstreams"`
		}
		if err := call(ctx, http.MethodGet, "http://"+gateway.addr+"/health", "", nil, &health); err != nil {
			return nil, err
		}
		if len(health.Upstreams) != 1 {
			return nil, fmt.Errorf("the gateway has %d upstreams, want 1", len(health.Upstreams))
		}
		s := health.Upstreams[0]
		s.Seconds = time.Since(start).Seconds()
		all = append(all, s)
		if err := pause(ctx, kneeEvery); err != nil {
			return nil, err
		}
	}
	return all, nil
}

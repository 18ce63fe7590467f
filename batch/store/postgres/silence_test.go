package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// holding has n operations read at once, and calls f while all of them do, or
// wait to.
func holding(t *testing.T, s *Store, n int, f func()) {
	t.Helper()
	release := make(chan struct{})
	var held sync.WaitGroup
	for range n {
		held.Go(func() {
			if err := s.read(t.Context(), "holding a connection", func(*tx) error { <-release; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	f()
	close(release)
	held.Wait()
}

// TestMaxConns checks the number of connections of a store, including the one that
// listens.
func TestMaxConns(t *testing.T) {
	const most = 4
	url := server.NewDatabase(t)
	s := openedWith(t, Config{URL: url, MaxConns: most})
	until(t, "it listens", func() bool { return woken(s) })
	holding(t, s, 2*most, func() {
		until(t, "all connections are in use", func() bool { return s.pool.Stat().AcquiredConns() == s.pool.Stat().MaxConns() })
		if got := query[int](t, url, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tidegate'`); got != most {
			t.Errorf("there are %d connections, want %d", got, most)
		}
	})
}

// TestMaxConnsOfURL checks the limit: that of the configuration, else that of the URL,
// else a default with which ten gateways can share a server with PostgreSQL's default
// of 100 connections.
func TestMaxConnsOfURL(t *testing.T) {
	for _, tt := range []struct {
		url      string
		maxConns int
		want     int32
	}{
		{"postgres://h/d", 0, 8},
		{"postgres://h/d?pool_max_conns=5", 0, 5},
		{"postgres://h/d?pool_max_conns=5", 6, 6},
		{"host=h dbname=d pool_max_conns=12", 0, 12},
	} {
		s, err := New(Config{URL: tt.url, MaxConns: tt.maxConns})
		if err != nil {
			t.Fatalf("%s: %v", tt.url, err)
		}
		if got := s.cfg.MaxConns + 1; got != tt.want { // one more connection listens
			t.Errorf("%s with MaxConns %d: got %d connections, want %d", tt.url, tt.maxConns, got, tt.want)
		}
		if s.cfg.MaxConnIdleTime != unusedTimeout || s.cfg.MinConns != 0 || s.cfg.MinIdleConns != 0 {
			t.Errorf("%s: unused connections are kept for %s, and at least %d and %d of them, want %s, 0 and 0", tt.url, s.cfg.MaxConnIdleTime, s.cfg.MinConns, s.cfg.MinIdleConns, unusedTimeout)
		}
	}
	for _, value := range []string{"1", "0", "-1", "10001"} {
		if _, err := New(Config{URL: "postgres://h/d?pool_max_conns=" + value}); err == nil || !strings.Contains(err.Error(), "pool_max_conns") && !errors.Is(err, errURL) {
			t.Errorf("pool_max_conns=%s: got %v, want an error that names it", value, err)
		}
	}
}

// TestConnectionLimits checks the limit of the store, and the limit of the server
// without reserved connections.
func TestConnectionLimits(t *testing.T) {
	url := server.NewDatabase(t)
	s := openedWith(t, Config{URL: url, MaxConns: 5})
	got, err := s.ConnectionLimits(t.Context())
	want := batch.ConnectionLimits{Gateway: 5, Database: query[int](t, url, `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int`)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestConnectionThatIsLetInAndFallsSilent checks that a connection to a server that
// stops responding after the login does not occupy the pool.
func TestConnectionThatIsLetInAndFallsSilent(t *testing.T) {
	p, through := behindProxy(t, server.NewDatabase(t))
	s := openedWith(t, Config{URL: through, MaxConns: 2, ConnectTimeout: time.Second})
	p.deaf.Store(true)
	s.pool.Reset()
	ctx, cancel := context.WithTimeout(t.Context(), patience/3)
	defer cancel()
	if err := s.Ping(ctx); !errors.Is(err, batch.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("error is %v, want %v", err, batch.ErrUnavailable)
	}
	p.deaf.Store(false)
	until(t, "it works again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return s.Ping(ctx) == nil
	})
}

// TestConnectionsThatFallSilent replaces the server's host without closing its
// connections: after one dead connection is found, all others are closed too.
func TestConnectionsThatFallSilent(t *testing.T) {
	const many = 12
	p, through := behindProxy(t, server.NewDatabase(t))
	s, err := New(Config{URL: through, MaxConns: many + 1, ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.idle = 0
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	holding(t, s, many, func() {
		until(t, "there are connections", func() bool { return s.pool.Stat().AcquiredConns() == many })
	})
	p.age.Add(1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*(time.Second+giveUp)) // the time limit of one connection, twice because of slow machines
	defer cancel()
	if err := s.Ping(ctx); err != nil {
		t.Error(err)
	}
}

package vllmsim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"time"
)

// shutdownGrace is the time for Serve to finish writing responses when it ends.
const shutdownGrace = time.Second

// Serve answers requests on ln until ctx is done, then closes ln and every
// connection: as with vLLM's default, requests in flight are aborted. It
// returns nil after ctx is done, otherwise the error that stopped it.
func Serve(ctx context.Context, ln net.Listener, cfg Config) error {
	if cfg.Seed == 0 {
		cfg.Seed = seedOf(ln.Addr())
	}
	s := New(cfg)
	return s.Serve(ctx, ln)
}

// Serve is the function Serve for a server that exists.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		s.Close()
		return fmt.Errorf("serving on %s: %w", ln.Addr(), errors.Join(err, srv.Close()))
	case <-ctx.Done():
	}
	s.Close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := srv.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // connections that never sent anything
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("closing %s: %w", ln.Addr(), err)
	}
	return nil
}

// seedOf returns servers at different addresses different seeds, and a server at
// a fixed address always the same.
func seedOf(addr net.Addr) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(addr.String())) // a hash never fails
	return h.Sum64() | 1
}

package vllmsim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// start serves on a loopback address until the test ends.
func start(t *testing.T, cfg vllmsim.Config) (url string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- vllmsim.Serve(ctx, ln, cfg) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		done <- nil // for the next call
	}
	t.Cleanup(stop)
	return "http://" + ln.Addr().String(), stop
}

func TestServeEndsWithItsContext(t *testing.T) {
	url, stop := start(t, vllmsim.Config{})
	// A connection that never sends anything must not hold it up.
	idle, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	hung := make(chan error, 1)
	headers := make(chan struct{})
	go func() {
		resp, err := client.Post(url+chatPath, "application/json", strings.NewReader(streamed(chatWith("[[sim:hang-mid]]"))))
		close(headers)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close() // it is broken on purpose
		}
		hung <- err
	}()
	<-headers
	stop()
	if err := <-hung; err == nil {
		t.Error("stream ended without an error")
	}
	if err := idle.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the idle connection is open")
	}
	if _, err := client.Get(url + "/health"); err == nil {
		t.Error("server answers after it was closed")
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vllmsim.Serve(t.Context(), ln, vllmsim.Config{}); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

package batchtest

import (
	"reflect"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// features implements every optional feature. Its methods must not be called.
type features struct {
	batch.Membership
	batch.Waker
	batch.ConnectionLimiter
	batch.Retainer
	batch.Placed
	batch.Measured
	batch.LoadSharer
	batch.ModelDiscoverer
	batch.Timed
	batch.ClientLimiter
}

// drivers are drivers without any method but Capabilities.
type (
	capableStore struct {
		batch.Store
		c batch.StoreCapabilities
	}
	capableQueue struct {
		batch.Queue
		c batch.QueueCapabilities
	}
	capableFiles struct {
		batch.Files
		c batch.FilesCapabilities
	}
	capableDispatcher struct {
		batch.Dispatcher
		c batch.DispatcherCapabilities
	}
)

func (d capableStore) Capabilities() batch.StoreCapabilities           { return d.c }
func (d capableQueue) Capabilities() batch.QueueCapabilities           { return d.c }
func (d capableFiles) Capabilities() batch.FilesCapabilities           { return d.c }
func (d capableDispatcher) Capabilities() batch.DispatcherCapabilities { return d.c }

// Wrappers wrap drivers. A nil one is not checked.
type Wrappers struct {
	Store      func(batch.Store) batch.Store
	Queue      func(batch.Queue) batch.Queue
	Files      func(batch.Files) batch.Files
	Dispatcher func(batch.Dispatcher) batch.Dispatcher
}

// KeepCapabilities checks that each wrapper has exactly the optional features of the
// driver that it wraps: for a driver with one of them, with all of them and with none.
func KeepCapabilities(t *testing.T, w Wrappers) {
	t.Helper()
	if w.Store != nil {
		keep(t, func(c batch.StoreCapabilities) batch.StoreCapabilities {
			return w.Store(capableStore{c: c}).Capabilities()
		})
	}
	if w.Queue != nil {
		keep(t, func(c batch.QueueCapabilities) batch.QueueCapabilities {
			return w.Queue(capableQueue{c: c}).Capabilities()
		})
	}
	if w.Files != nil {
		keep(t, func(c batch.FilesCapabilities) batch.FilesCapabilities {
			return w.Files(capableFiles{c: c}).Capabilities()
		})
	}
	if w.Dispatcher != nil {
		keep(t, func(c batch.DispatcherCapabilities) batch.DispatcherCapabilities {
			return w.Dispatcher(capableDispatcher{c: c}).Capabilities()
		})
	}
}

// keep compares the capabilities of a wrapper with those of the driver.
func keep[C comparable](t *testing.T, wrapped func(C) C) {
	t.Helper()
	var none, all C
	every := reflect.ValueOf(new(features))
	check := func(want C) {
		t.Helper()
		if got := wrapped(want); got != want {
			t.Errorf("got %T %+v, want those of the wrapped driver %+v", got, got, want)
		}
	}
	check(none)
	v := reflect.ValueOf(&all).Elem()
	for i := range v.NumField() {
		one := none
		reflect.ValueOf(&one).Elem().Field(i).Set(every)
		check(one)
		v.Field(i).Set(every)
	}
	check(all)
}

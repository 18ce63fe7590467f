package caddymodule

import (
	"reflect"
	"testing"
)

// The pool has every optional feature of a dispatcher.
func TestDispatcherCapabilities(t *testing.T) {
	c := reflect.ValueOf(dispatcher{}.Capabilities())
	for i := range c.NumField() {
		if c.Field(i).IsNil() {
			t.Errorf("capability %s is nil, want one", c.Type().Field(i).Name)
		}
	}
}

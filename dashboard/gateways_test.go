package dashboard_test

import (
	"strings"
	"testing"
)

// The first page says of each gateway what it does.
func TestGateways(t *testing.T) {
	page := build(t, nil).page("/")
	for _, want := range []string{"Gateways", "front-1", "(this one)", "live requests and the API", "worker-1", "batch work", "old", "everything"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the first page", want)
		}
	}
}

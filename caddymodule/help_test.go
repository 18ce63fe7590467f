package caddymodule

import (
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{nil, true},
		{[]string{"help"}, true},
		{[]string{"--help"}, true},
		{[]string{"-h"}, true},
		{[]string{"help", "batch"}, false},
		{[]string{"batch", "--help"}, false},
		{[]string{"serve"}, false},
	} {
		if got := AsksForHelp(tt.args); got != tt.want {
			t.Errorf("AsksForHelp(%q) = %t, want %t", tt.args, got, tt.want)
		}
	}
	var out strings.Builder
	if err := Help(&out); err != nil {
		t.Fatal(err)
	}
	own, theirs, found := strings.Cut(out.String(), "Commands of Caddy")
	if !found || strings.Contains(own, "caddy") {
		t.Errorf("got\n%s\nwant a list of its own commands that does not speak of caddy", out.String())
	}
	for _, name := range ownCommands {
		if !strings.Contains(own, "\n  "+name+" ") {
			t.Errorf("%s is not listed", name)
		}
	}
	for _, name := range []string{"keys", "audit", "batch"} {
		if strings.Contains(theirs, "\n  "+name+" ") {
			t.Errorf("%s is listed as one of Caddy's", name)
		}
	}
	if !strings.Contains(theirs, "\n  validate ") {
		t.Errorf("validate is not listed in\n%s", theirs)
	}
}
